"""Rows of `stg.complete_trip` -> frames of trips, batch by batch; a row means the same as in an export of the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from chillflow.connectors.database import TRIP_COLUMNS
from chillflow.model.table_rows import Row
from chillflow.production.keying import with_trip_keys
from chillflow.production.replay import RejectedRow
from chillflow.production.tlc import ROW, layout_of, rejected_rows, to_trips
from chillflow.production.trip_frames import with_time_texts

__all__ = ["TableTrips"]

_LAYOUT = layout_of(TRIP_COLUMNS)


class TableTrips:
    """Trips that `Database.trips` read, in its order. A row that is no trip is rejected under its trip_key."""

    origin = "stg.complete_trip"
    total = None

    def __init__(self, batches: Iterable[list[Row]]) -> None:
        self._batches = batches

    def frames(self) -> Iterator[pl.DataFrame | RejectedRow]:
        """One frame a batch, after the rows that it rejects. Raises DatabaseError and its kind."""
        for batch in self._batches:
            # Types are inferred: a column of SQLite may hold 12 in one row and 12.5 in the next.
            columns = zip(TRIP_COLUMNS, zip(*batch, strict=True), strict=True)
            source = pl.DataFrame([pl.Series(name, values, strict=False) for name, values in columns])
            read = to_trips(source.with_row_index(ROW), _LAYOUT, "UTC")
            yield from rejected_rows(read.rejected, self.origin, "trip_key")
            yield with_trip_keys(with_time_texts(read.trips.drop(ROW)))
