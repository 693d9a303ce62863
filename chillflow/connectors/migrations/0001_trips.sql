-- Postgres SQL, translated for SQLite: `stg.complete_trip` becomes `stg_complete_trip` there.
create schema if not exists stg;
create schema if not exists mart;
create schema if not exists dim;

create table stg.complete_trip (
    trip_key text primary key,
    service text,
    vendor_id integer,
    pickup_ts timestamptz not null,
    dropoff_ts timestamptz not null,
    pu_zone_id integer not null,
    do_zone_id integer not null,
    passenger_count integer,
    rate_code integer,
    store_and_fwd_flag text,
    trip_type integer,
    trip_distance double precision,
    payment_type integer,
    fare_amount numeric(10, 2),
    extra numeric(10, 2),
    mta_tax numeric(10, 2),
    tip_amount numeric(10, 2),
    tolls_amount numeric(10, 2),
    improvement_surcharge numeric(10, 2),
    congestion_surcharge numeric(10, 2),
    airport_fee numeric(10, 2),
    cbd_congestion_fee numeric(10, 2),
    ehail_fee numeric(10, 2),
    total_amount numeric(10, 2),
    extra_columns jsonb,
    distance_km double precision,
    duration_min double precision,
    avg_speed_kmh double precision,
    revision integer not null,
    source text not null check (source in ('load', 'stream')),
    created_at timestamptz not null default current_timestamp,
    updated_at timestamptz not null default current_timestamp
);

create index complete_trip_pickup on stg.complete_trip (pickup_ts);

create table dim.zone (
    zone_id integer primary key,
    borough text not null,
    zone text not null,
    lon double precision,
    lat double precision
);
