"""The job of `load-trips`: load a file into `stg.complete_trip` as revision 0. Assembly overwrites these trips."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from chillflow.connectors import open_database, open_log
from chillflow.model.codec import CompleteTripStruct
from chillflow.model.table_rows import COMPLETE_TRIP, Row, UnfitError, to_table_row
from chillflow.model.topics import TopicNames, registry
from chillflow.model.trips import TripValues, derived
from chillflow.production.parquet import ParquetTrips
from chillflow.production.rejected import RejectedRow, dead_letters
from chillflow.production.trip_frames import ROW_FIELDS, TripRow, rows
from chillflow.settings import Settings

__all__ = ["Loaded", "load"]

_BATCH = 10_000
_FIRST = ROW_FIELDS.index("trip_key")
_PICKUP, _DROPOFF, _DISTANCE = (
    ROW_FIELDS.index(name) - _FIRST for name in ("pickup_ts", "dropoff_ts", "trip_distance")
)


@dataclass(frozen=True)
class Loaded:
    """The result of a load."""

    trips: int
    rejected: int
    """Rows that are no trips or do not fit the table: dead letters."""
    seconds: float


def load(settings: Settings, path: Path) -> Loaded:
    """Load a file; rejected rows become dead letters. Raises ChillFlowError."""
    started = time.monotonic()
    database = open_database(settings)
    database.check()
    rejected: list[RejectedRow] = []
    loaded = 0
    for item in ParquetTrips(path, settings.source_time_zone).frames():
        if isinstance(item, RejectedRow):
            rejected.append(item)
            continue
        for part in item.iter_slices(_BATCH):
            fitting, unfit = _table_rows(part, str(path))
            database.upsert({COMPLETE_TRIP: fitting})
            loaded += len(fitting)
            rejected += unfit
    database.close()
    if rejected:
        _send(settings, rejected)
    return Loaded(loaded, len(rejected), time.monotonic() - started)


def _table_rows(trips: pl.DataFrame, origin: str) -> tuple[list[Row], list[RejectedRow]]:
    fitting: list[Row] = []
    unfit: list[RejectedRow] = []
    for trip in map(_trip, rows(trips)):
        try:
            fitting.append(to_table_row(trip, "load"))
        except UnfitError as error:
            unfit.append(RejectedRow(origin, trip.trip_key, str(error), None))
    return fitting, unfit


def _trip(row: TripRow) -> TripValues:
    values = [*row[_FIRST:]]
    for position in (_PICKUP, _DROPOFF):
        values[position] = datetime.fromisoformat(values[position])
    return CompleteTripStruct(*values, *derived(values[_DISTANCE], values[_PICKUP], values[_DROPOFF]), 0)


def _send(settings: Settings, rejected: list[RejectedRow]) -> None:
    log = open_log(settings)
    topic = TopicNames.of(settings).dead_letters
    log.ensure_topics([registry(settings)[topic]], settings.partitions, settings.replication_factor)
    writer = log.writer("load-trips")
    writer.send_all(dead_letters(rejected, topic))
    writer.flush()
    writer.close()
