"""Windows computed from the complete trips with polars, and those in the topic and in the table."""

from __future__ import annotations

import polars as pl

from tests.pipelines.pipeline import Pipeline
from tests.pipelines.topics import JsonObject

KEY = ["pu_zone_id", "window_minutes", "window_start"]
MONEY = ["total_amount", "fare_amount", "tip_amount"]
MEASURES = ["trips", "timed_trips", "card_trips", "cash_trips", *MONEY, "distance_m", "duration_s"]


def expected(trips: list[JsonObject], lengths: tuple[int, ...] = (15, 60)) -> pl.DataFrame:
    """The last revision of each trip, aggregated by zone and window of each length in minutes; money in cents."""
    names = ["trip_key", "revision", "pu_zone_id", "pickup_ts", "dropoff_ts", "payment_type", "distance_km", *MONEY]
    types: dict[str, type[pl.DataType]] = dict.fromkeys(names, pl.Float64) | dict.fromkeys(names[3:5], pl.String)
    types |= dict.fromkeys(["revision", "pu_zone_id", "payment_type"], pl.Int64) | {"trip_key": pl.String}
    frame = pl.DataFrame([{name: trip[name] for name in names} for trip in trips], schema=types)
    frame = frame.sort("revision").unique("trip_key", keep="last")
    frame = frame.with_columns(
        pl.col(name).str.to_datetime("%+", time_unit="us", time_zone="UTC") for name in ("pickup_ts", "dropoff_ts")
    )
    timed = pl.col("dropoff_ts") > pl.col("pickup_ts")
    measures = [
        pl.len().cast(pl.Int64).alias("trips"),
        timed.cast(pl.Int64).sum().alias("timed_trips"),
        (pl.col("payment_type") == 1).cast(pl.Int64).sum().alias("card_trips"),
        (pl.col("payment_type") == 2).cast(pl.Int64).sum().alias("cash_trips"),
        *((pl.col(name) * 100).round().cast(pl.Int64).sum() for name in MONEY),
        (pl.col("distance_km") * 1000).round().cast(pl.Int64).filter(timed).sum().alias("distance_m"),
        (pl.col("dropoff_ts") - pl.col("pickup_ts")).dt.total_seconds().filter(timed).sum().alias("duration_s"),
    ]
    return pl.concat(
        frame.group_by(
            "pu_zone_id",
            pl.lit(minutes, pl.Int64).alias("window_minutes"),
            pl.col("dropoff_ts").dt.truncate(f"{minutes}m").alias("window_start"),
        ).agg(measures)
        for minutes in lengths
    ).sort(KEY)


def in_topic(pipeline: Pipeline) -> pl.DataFrame:
    """The windows in their topic: the last message of each key."""
    last = {message.key: message.json for message in pipeline.topics.read(pipeline.windows)}
    return _normalized([last[key] for key in last])


def in_table(pipeline: Pipeline) -> pl.DataFrame:
    """The windows in their table."""
    columns = [*KEY, *MEASURES, "final", "changes"]
    rows = pipeline.query(f"select {', '.join(columns)} from mart.zone_window")
    return _normalized([dict(zip(columns, row, strict=True)) for row in rows])


def _normalized(windows: list[JsonObject]) -> pl.DataFrame:
    """Windows in the format of `expected`, without those whose trips have all moved to other windows."""
    frame = pl.DataFrame(
        [
            {name: str(window[name]) for name in KEY}
            | {name: round(100 * float(window[name])) if name in MONEY else int(window[name]) for name in MEASURES}
            for window in windows
        ],
        schema={**dict.fromkeys(KEY, pl.String), **dict.fromkeys(MEASURES, pl.Int64)},
    )
    return (
        frame.filter(pl.col("trips") > 0)
        .with_columns(
            pl.col("pu_zone_id", "window_minutes").cast(pl.Int64),
            pl.col("window_start").str.replace(" ", "T").str.to_datetime("%+", time_unit="us", time_zone="UTC"),
        )
        .sort(KEY)
    )
