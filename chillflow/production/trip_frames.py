"""Frames of trips, the form in which every source yields its trips. Pure, on frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias

import polars as pl

from chillflow.model.codec import decode_value
from chillflow.model.trips import TRIP_FIELDS
from chillflow.production.rejected import RejectedRow

__all__ = ["FIRST_TIME", "ROW_FIELDS", "TIMES", "TripRow", "TripSource", "column_texts", "rows", "with_time_texts"]

ROW_FIELDS = ("pickup_us", "dropoff_us", "trip_key", *TRIP_FIELDS)
"""Columns of a frame of trips: the two times in µs since 1970, then the fields of a trip. `pickup_ts` and `dropoff_ts`
are RFC 3339 text, `extra_columns` is JSON text."""
TripRow: TypeAlias = tuple[Any, ...]
"""A trip's values in the order of ROW_FIELDS, `extra_columns` decoded."""
TIMES = ("pickup_ts", "dropoff_ts")
FIRST_TIME = pl.min_horizontal("pickup_us", "dropoff_us")
"""The earlier of a trip's two times: trips are replayed in this order."""
_ROWS = 8_192
_EXTRA = ROW_FIELDS.index("extra_columns")


class TripSource(Protocol):
    """Trips to replay, from a file or a table."""

    @property
    def origin(self) -> str:
        """Name of the source in dead letters."""

    @property
    def total(self) -> int | None:
        """Number of rows, if known in advance."""

    def frames(self) -> Iterator[pl.DataFrame | RejectedRow]:
        """Frames of trips in the order of FIRST_TIME, and each row that is no trip."""


def rows(trips: pl.DataFrame) -> Iterator[TripRow]:
    """The trips of a frame, one by one."""
    for part in trips.iter_slices(_ROWS):
        for row in part.rows():
            extra = row[_EXTRA]
            yield row if extra is None else (*row[:_EXTRA], decode_value(extra), *row[_EXTRA + 1 :])


def with_time_texts(trips: pl.DataFrame) -> pl.DataFrame:
    """The times as RFC 3339 text, as on the wire: microseconds only where there are any."""
    return trips.with_columns(
        pl.when(pl.col(name).dt.microsecond() == 0)
        .then(pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        .otherwise(pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
        .alias(name)
        for name in TIMES
    )


def column_texts(column: pl.Series, form: str, text: Callable[[object], str], null: str | None = None) -> pl.Series:
    """Each value as `form % text(value)`, a missing one as `form % null`, or missing if `null` is None.

    Python writes each distinct value once, so the text does not depend on how Polars formats.
    """
    distinct = column.drop_nulls().unique()
    written = [form % text(value) for value in distinct]
    default = None if null is None else form % null
    return column.replace_strict(distinct, written, default=default, return_dtype=pl.String)
