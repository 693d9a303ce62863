-- Measures by pickup zone and window of drop-off times, and views on them. The views derive means from sums, null
-- where the divisor is 0. Sums of money are rounded to the cent, because SQLite adds binary numbers.
create table mart.zone_window (
    pu_zone_id integer not null,
    window_start timestamptz not null,
    window_end timestamptz not null,
    window_minutes integer not null,
    trips bigint not null,
    timed_trips bigint not null,
    card_trips bigint not null,
    cash_trips bigint not null,
    total_amount numeric(20, 2) not null,
    fare_amount numeric(20, 2) not null,
    tip_amount numeric(20, 2) not null,
    distance_m bigint not null,
    duration_s bigint not null,
    final boolean not null,
    changes bigint not null,
    updated_at timestamptz not null default current_timestamp,
    primary key (pu_zone_id, window_start, window_minutes)
);

-- No index covers a measure, so Postgres updates open windows without touching an index (HOT; measured: 96 %).
create index zone_window_of_city on mart.zone_window (window_minutes, window_start);
create index zone_window_end on mart.zone_window (window_end);
create index zone_window_open on mart.zone_window (window_end) where not final;

-- Windows of an hour, with means. TLC records card tips only.
create view mart.zone_hourly as
select
    hourly.pu_zone_id,
    named.zone,
    named.borough,
    hourly.window_start,
    hourly.window_end,
    hourly.trips,
    hourly.timed_trips,
    hourly.card_trips,
    hourly.cash_trips,
    hourly.total_amount,
    hourly.fare_amount,
    hourly.tip_amount,
    hourly.distance_m,
    hourly.duration_s,
    cast(hourly.total_amount as double precision) / nullif(hourly.trips, 0) as mean_total_amount,
    cast(hourly.fare_amount as double precision) / nullif(hourly.trips, 0) as mean_fare_amount,
    cast(hourly.tip_amount as double precision) / nullif(hourly.trips, 0) as mean_tip_amount,
    cast(hourly.distance_m as double precision) / 1000 / nullif(hourly.timed_trips, 0) as mean_distance_km,
    cast(hourly.duration_s as double precision) / 60 / nullif(hourly.timed_trips, 0) as mean_duration_min,
    cast(hourly.distance_m as double precision) * 3.6 / nullif(hourly.duration_s, 0) as avg_speed_kmh,
    hourly.final,
    hourly.changes,
    hourly.updated_at
from mart.zone_window as hourly
left join dim.zone as named on named.zone_id = hourly.pu_zone_id
where hourly.window_minutes = 60;

create view mart.city_window as
select
    window_minutes,
    window_start,
    max(window_end) as window_end,
    sum(trips) as trips,
    sum(timed_trips) as timed_trips,
    sum(card_trips) as card_trips,
    sum(cash_trips) as cash_trips,
    round(sum(total_amount), 2) as total_amount,
    round(sum(fare_amount), 2) as fare_amount,
    round(sum(tip_amount), 2) as tip_amount,
    sum(distance_m) as distance_m,
    sum(duration_s) as duration_s,
    count(*) filter (where trips > 0) as zones,
    cast(sum(total_amount) as double precision) / nullif(sum(trips), 0) as mean_total_amount,
    cast(sum(distance_m) as double precision) * 3.6 / nullif(sum(duration_s), 0) as avg_speed_kmh,
    count(*) filter (where not final) = 0 as final,
    max(updated_at) as updated_at
from mart.zone_window
group by window_minutes, window_start;

-- The current window of each length: the newest such that it and later ones hold 20 trips, because single rows are
-- dated years ahead. The newest 20 rows hold at least 20 trips, so no more are read. There are at most 36 lengths, the
-- divisors of a day: the limit tells Postgres that there are few, so that it finds their windows by the index.
create view mart.city_now as
with recursive
length (window_minutes) as (
    select min(window_minutes) from mart.zone_window
    union all
    select (select min(longer.window_minutes) from mart.zone_window as longer
            where longer.window_minutes > length.window_minutes)
    from length
    where length.window_minutes is not null
),
latest (window_minutes, window_start) as (
    select
        length.window_minutes,
        (select max(counted.window_start) from (
            select
                newest.window_start,
                sum(newest.trips) over (order by newest.window_start desc, newest.pu_zone_id) as total
            from (
                select zone.window_start, zone.pu_zone_id, zone.trips
                from mart.zone_window as zone
                where zone.window_minutes = length.window_minutes and zone.trips > 0
                order by zone.window_start desc
                limit 20
            ) as newest
        ) as counted where counted.total >= 20)
    from length
    where length.window_minutes is not null
    limit 36
)
select
    zone.window_minutes,
    zone.window_start,
    max(zone.window_end) as window_end,
    sum(zone.trips) as trips,
    sum(zone.timed_trips) as timed_trips,
    sum(zone.card_trips) as card_trips,
    sum(zone.cash_trips) as cash_trips,
    round(sum(zone.total_amount), 2) as total_amount,
    round(sum(zone.fare_amount), 2) as fare_amount,
    round(sum(zone.tip_amount), 2) as tip_amount,
    sum(zone.distance_m) as distance_m,
    sum(zone.duration_s) as duration_s,
    count(*) filter (where zone.trips > 0) as zones,
    cast(sum(zone.total_amount) as double precision) / nullif(sum(zone.trips), 0) as mean_total_amount,
    cast(sum(zone.distance_m) as double precision) * 3.6 / nullif(sum(zone.duration_s), 0) as avg_speed_kmh,
    count(*) filter (where not zone.final) = 0 as final,
    max(zone.updated_at) as updated_at
from latest
join mart.zone_window as zone
    on zone.window_minutes = latest.window_minutes and zone.window_start = latest.window_start
group by zone.window_minutes, zone.window_start;

-- The ten zones of each window with the most trips.
create view mart.top_zones as
select
    ranked.window_minutes,
    ranked.window_start,
    ranked.window_end,
    ranked.rank,
    ranked.pu_zone_id,
    named.zone,
    named.borough,
    ranked.trips,
    ranked.total_amount
from (
    select
        window_minutes,
        window_start,
        window_end,
        pu_zone_id,
        trips,
        total_amount,
        row_number() over (partition by window_minutes, window_start order by trips desc, pu_zone_id) as rank
    from mart.zone_window
    where trips > 0
) as ranked
left join dim.zone as named on named.zone_id = ranked.pu_zone_id
where ranked.rank <= 10;

-- Trips by pickup zone, drop-off zone and hour of drop-off. The index is on the hour as the view writes it: an index on
-- the time itself would not serve a filter on the hour. (Postgres 14 cannot index date_trunc with a third argument.)
create index complete_trip_dropoff_hour
on stg.complete_trip ((date_trunc('hour', dropoff_ts at time zone 'UTC') at time zone 'UTC'));

drop view mart.zone_flow;
create view mart.zone_flow as
select
    flow.hour,
    flow.pu_zone_id,
    pickup.zone as pickup_zone,
    flow.do_zone_id,
    dropoff.zone as dropoff_zone,
    flow.trips,
    flow.total_amount,
    flow.mean_duration_min
from (
    select
        date_trunc('hour', dropoff_ts at time zone 'UTC') at time zone 'UTC' as hour,
        pu_zone_id,
        do_zone_id,
        count(*) as trips,
        round(sum(total_amount), 2) as total_amount,
        avg(duration_min) as mean_duration_min
    from stg.complete_trip
    group by date_trunc('hour', dropoff_ts at time zone 'UTC') at time zone 'UTC', pu_zone_id, do_zone_id
) as flow
left join dim.zone as pickup on pickup.zone_id = flow.pu_zone_id
left join dim.zone as dropoff on dropoff.zone_id = flow.do_zone_id;
