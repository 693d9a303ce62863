"""Rows of `stg.complete_trip` -> frames of trips, read as an export of the table would be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from chillflow.connectors.database import TRIP_COLUMNS
from chillflow.model.table_rows import Row
from chillflow.production.keying import with_trip_keys
from chillflow.production.rejected import RejectedRow
from chillflow.production.tlc import ROW, Trips, layout_of, rejected_rows, to_trips
from chillflow.production.trip_frames import with_time_texts

__all__ = ["TableTrips"]

_LAYOUT = layout_of(TRIP_COLUMNS)


class TableTrips:
    """The trips in the rows of `Database.trips`, in its order. A row that is no trip is rejected by its trip_key."""

    origin = "stg.complete_trip"
    total = None

    def __init__(self, batches: Iterable[list[Row]]) -> None:
        self._batches = batches

    def frames(self) -> Iterator[pl.DataFrame | RejectedRow]:
        """A frame for each batch, after its rejected rows. Raises DatabaseError and its kind.

        Nothing here refers to a batch while the next one is read: that would take 20 MB.
        """
        for read in map(_read, self._batches):
            yield from rejected_rows(read.rejected, self.origin, "trip_key")
            yield with_trip_keys(with_time_texts(read.trips.drop(ROW)))


def _read(batch: list[Row]) -> Trips:
    # Types are inferred: a column of SQLite may hold 12 in one row and 12.5 in the next.
    columns = zip(TRIP_COLUMNS, zip(*batch, strict=True), strict=True)
    source = pl.DataFrame([pl.Series(name, values, strict=False) for name, values in columns])
    return to_trips(source.with_row_index(ROW), _LAYOUT, "UTC")
