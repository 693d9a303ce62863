-- Trips that timed out. Rows are never deleted: a trip that is completed later stays, marked `completed`.
create table stg.incomplete_trip (
    trip_key text primary key,
    revision integer not null,
    missing jsonb not null,
    completed boolean not null,
    pickup_ts timestamptz,
    dropoff_ts timestamptz,
    pu_zone_id integer,
    do_zone_id integer,
    known jsonb not null,
    created_at timestamptz not null default current_timestamp,
    updated_at timestamptz not null default current_timestamp
);

create view stg.still_incomplete_trip as
select * from stg.incomplete_trip where not completed;
