"""Production and assembly together: every trip of a real file is reassembled unchanged, once."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from chillflow.synthetic.trip_generator import generate
from tests.pipelines.command import ACCOUNT, PRODUCED
from tests.pipelines.pipeline import Pipeline
from tests.pipelines.topics import JsonObject
from tests.real_trips import GREEN, YELLOW, scaled_file

ZONE = "America/New_York"
NAMES = {
    "VendorID": "vendor_id",
    "PULocationID": "pu_zone_id",
    "DOLocationID": "do_zone_id",
    "RatecodeID": "rate_code",
    "Airport_fee": "airport_fee",
    **{f"{prefix}_{end}_datetime": f"{end}_ts" for prefix in ("tpep", "lpep") for end in ("pickup", "dropoff")},
}
MONEY = [
    "fare_amount",
    "extra",
    "mta_tax",
    "tip_amount",
    "tolls_amount",
    "improvement_surcharge",
    "congestion_surcharge",
    "airport_fee",
    "cbd_congestion_fee",
    "ehail_fee",
    "total_amount",
]
WHOLE = ["vendor_id", "pu_zone_id", "do_zone_id", "passenger_count", "rate_code", "payment_type", "trip_type"]


def source(file: Path) -> pl.DataFrame:
    """TLC's rows with our column names, local times of New York, and nulls for missing numbers."""
    rows = pl.read_parquet(file)
    rows = rows.rename({name: NAMES[name] for name in rows.columns if name in NAMES})
    return normalized(rows)


def normalized(rows: pl.DataFrame) -> pl.DataFrame:
    columns = sorted(name for name in rows.columns if name != "trip_key")
    floats = [name for name in columns if rows.schema[name].is_float() or name in MONEY]
    return rows.select(
        pl.col(name).cast(pl.Datetime("us"))
        if name.endswith("_ts")
        else pl.col(name).cast(pl.Int64)
        if name in WHOLE
        else pl.col(name).cast(pl.Float64).fill_nan(None) + 0.0
        if name in floats
        else pl.col(name)
        for name in columns
    ).sort(pl.all(), nulls_last=False)


def assembled(trips: list[JsonObject], names: list[str]) -> pl.DataFrame:
    """Complete trips in the same format."""
    types = {name: pl.Int64 if name in WHOLE else pl.Float64 for name in names}
    types |= dict.fromkeys(("store_and_fwd_flag", "pickup_ts", "dropoff_ts"), pl.String)  # type: ignore[arg-type]
    frame = pl.DataFrame([{name: trip[name] for name in names} for trip in trips], schema=types)
    return normalized(
        frame.with_columns(
            pl.col(name)
            .str.to_datetime("%+", time_unit="us", time_zone="UTC")
            .dt.convert_time_zone(ZONE)
            .dt.replace_time_zone(None)
            for name in ("pickup_ts", "dropoff_ts")
        )
    )


def stored(pipeline: Pipeline, names: list[str]) -> pl.DataFrame:
    """The rows of the table in the same format."""
    rows = pipeline.query(f"select {', '.join(names)} from stg.complete_trip")
    records = [
        {
            name: str(value) if name.endswith("_ts") else float(value) if name in MONEY and value is not None else value
            for name, value in zip(names, row, strict=True)
        }
        for row in rows
    ]
    texts = {"pickup_ts", "dropoff_ts"}
    for record in records:
        for name in texts:
            record[name] = str(record[name]).replace(" ", "T")
    return assembled(records, names)


def to_cents(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        (pl.col(name) * 100).round().cast(pl.Int64) for name in MONEY if name in rows.columns
    ).sort(pl.all(), nulls_last=False)


@pytest.mark.scaled
@pytest.mark.parametrize(("name", "workers"), [(GREEN, 1), (YELLOW, 2)])
def test_every_trip_of_a_file_is_reassembled_unchanged_once(pipeline: Pipeline, name: str, workers: int) -> None:
    file = scaled_file(name)
    expected = source(file)

    pipeline.run("init-db")
    produced = pipeline.produce(file)
    account = pipeline.assemble("--workers", workers)

    trips = len(expected)
    assert produced.keys() == PRODUCED
    assert produced == {
        "trips": trips,
        "events": 5 * trips,
        "delivered": 5 * trips,
        "rejected": 0,
        "seconds": produced["seconds"],
    }
    assert account.keys() == ACCOUNT | {"seconds"}
    nothing = dict.fromkeys(ACCOUNT, 0)
    whole = {"events": 5 * trips, "complete_trips": trips, "events_in_complete": 5 * trips}
    assert account == {**nothing, **whole, "seconds": account["seconds"]}

    found = pipeline.trips()
    assert len({trip["trip_key"] for trip in found}) == len(found) == trips
    assert {trip["revision"] for trip in found} == {1}
    assert {trip["service"] for trip in found} == {file.name.split("_")[0]}
    assert all(trip["extra_columns"] is None for trip in found)
    assert_frame_equal(assembled(found, expected.columns), expected)
    assert_derived(found)

    assert {key for (key,) in pipeline.query("select trip_key from stg.complete_trip")} == {
        trip["trip_key"] for trip in found
    }
    assert pipeline.query("select distinct source, revision from stg.complete_trip") == [("stream", 1)]
    assert_frame_equal(to_cents(stored(pipeline, expected.columns)), to_cents(expected))
    assert pipeline.dead_letters() == []


def assert_derived(trips: list[JsonObject]) -> None:
    """Check the derived fields against an independent computation."""
    frame = pl.DataFrame(
        [
            {name: trip[name] for name in ("trip_distance", "distance_km", "duration_min", "avg_speed_kmh")}
            | {name: trip[name] for name in ("pickup_ts", "dropoff_ts")}
            for trip in trips
        ],
        infer_schema_length=None,
    )
    seconds = (
        pl.col("dropoff_ts").str.to_datetime("%+", time_zone="UTC")
        - pl.col("pickup_ts").str.to_datetime("%+", time_zone="UTC")
    ).dt.total_seconds()
    km = pl.when(pl.col("trip_distance") >= 0).then(pl.col("trip_distance") * 1.609344)
    wanted = frame.select(
        distance_km=km,
        duration_min=pl.when(seconds > 0).then(seconds / 60),
        avg_speed_kmh=pl.when(seconds > 0).then(km / seconds * 3600),
    )
    assert_frame_equal(frame.select(wanted.columns), wanted, check_exact=False)


def test_trips_produced_again_change_nothing(pipeline: Pipeline, trips_file: Path, workers: int) -> None:
    pipeline.run("init-db")
    first = pipeline.produce(trips_file)
    account = pipeline.assemble("--workers", workers)
    rows = pipeline.query("select * from stg.complete_trip order by trip_key")

    second = pipeline.produce(trips_file)
    again = pipeline.assemble("--workers", workers)

    assert first["delivered"] == second["delivered"] == 1500
    assert again == {**account, "events": 3000, "duplicates": 1500, "seconds": again["seconds"]}
    assert len(pipeline.trips()) == 300
    assert pipeline.query("select * from stg.complete_trip order by trip_key") == rows


def test_many_days_produced_again_change_nothing(embedded: Pipeline, tmp_path: Path) -> None:
    file, trips = tmp_path / "days.parquet", 1000
    generate(file, trips, days=5)
    embedded.run("init-db")
    embedded.produce(file)
    embedded.assemble()

    embedded.produce(file)
    again = embedded.assemble()

    # events of trips kept for corrections are duplicates, those of dropped trips are late
    assert again["duplicates"] + again["late"] == 5 * trips
    assert again["complete_trips"] == len(embedded.trips()) == embedded.rows() == trips
    assert len(embedded.topics.read(f"{embedded.topic}.late")) == again["late"] > 0


def test_the_events_of_a_trip_are_in_one_partition_in_event_time_order(pipeline: Pipeline, trips_file: Path) -> None:
    pipeline.produce(trips_file)

    events = pipeline.events()

    places: dict[bytes | None, set[int]] = {}
    last: dict[int, int] = {}
    for event in events:
        assert event.timestamp is not None
        places.setdefault(event.key, set()).add(event.partition)
        assert event.key == event.json["trip_key"].encode()
        assert last.get(event.partition, 0) <= event.timestamp
        last[event.partition] = event.timestamp
    assert len(places) == 300
    assert {len(partitions) for partitions in places.values()} == {1}
    assert set(last) == {0, 1, 2, 3}


def test_the_same_file_gives_the_same_bytes(embedded: Pipeline, trips_file: Path) -> None:
    embedded.produce(trips_file)
    first = embedded.events()
    embedded.produce(trips_file)

    both = embedded.events()

    assert sorted(event.value or b"" for event in both) == sorted(2 * [event.value or b"" for event in first])
    assert len({json.loads(event.value or b"")["event_id"] for event in both}) == len(first)
