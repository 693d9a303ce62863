-- Trips by pickup and drop-off zone.
create view mart.zone_flow as
select
    trip.pu_zone_id,
    pickup.zone as pickup_zone,
    trip.do_zone_id,
    dropoff.zone as dropoff_zone,
    count(*) as trips,
    sum(trip.total_amount) as total_amount,
    avg(trip.duration_min) as mean_duration_min
from stg.complete_trip as trip
left join dim.zone as pickup on pickup.zone_id = trip.pu_zone_id
left join dim.zone as dropoff on dropoff.zone_id = trip.do_zone_id
group by trip.pu_zone_id, pickup.zone, trip.do_zone_id, dropoff.zone;
