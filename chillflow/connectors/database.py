"""The protocol of a database of trips, and the migrations that create its tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib.resources import files
from typing import Any, NamedTuple, Protocol

from chillflow.model.codec import time_text
from chillflow.model.table_rows import COMPLETE_TRIP, INCOMPLETE_TRIP, MONEY, ZONE_WINDOW, Rows
from chillflow.model.trips import canonical_extra, microseconds
from chillflow.production.splitting import ROW_FIELDS, TripRow

__all__ = ["ASSEMBLED", "SELECTED", "Database", "Migration", "migrations", "trip_row"]

ASSEMBLED = {COMPLETE_TRIP: "source = 'stream'", INCOMPLETE_TRIP: "true", ZONE_WINDOW: "true"}
"""A condition for the rows of each table that assembly wrote."""


SELECTED = ROW_FIELDS[2:]
"""The columns that are read to replay a trip."""
_ROW_PICKUP, _ROW_DROPOFF = SELECTED.index("pickup_ts"), SELECTED.index("dropoff_ts")
_ROW_MONEY = tuple(SELECTED.index(name) for name in MONEY)


class Migration(NamedTuple):
    """One step of the schema. Released steps never change."""

    version: int
    name: str
    sql: str


class Database(Protocol):
    """A database of trips. Methods raise DatabaseError and its subclasses."""

    parallel: bool
    """Whether several connections can write at once."""

    def migrate(self) -> list[str]:
        """Apply the missing migrations; returns their names."""

    def applied(self) -> set[int]:
        """Versions of the applied migrations. Changes nothing."""

    def check(self) -> None:
        """Raise MissingTableError unless all tables exist."""

    def clock(self) -> datetime | None:
        """The server's time; None without a server."""

    def empty(self) -> dict[str, int]:
        """Delete the rows that assembly wrote; returns their number by table. Loaded trips stay."""

    def upsert(self, rows: Rows) -> None:
        """Upsert rows in one transaction. An existing row is only replaced by a newer one, by the table's guard."""

    def retire_windows(self, before: datetime) -> int:
        """Delete the rows of `mart.zone_window` that ended at this time or earlier; returns their number."""

    def trips(
        self, *, trip_key: str | None, since: datetime | None, until: datetime | None, limit: int | None
    ) -> Iterator[TripRow]:
        """Trips of `stg.complete_trip`, oldest pickup first, in the order of the earlier of their times."""

    def count(self) -> int:
        """Rows of `stg.complete_trip`."""

    def close(self) -> None:
        """Close the connection, if one is open."""


def migrations() -> list[Migration]:
    """All migrations in order."""
    return [
        Migration(int(match[1]), match[2], file.read_text())
        for file in sorted((files(__package__) / "migrations").iterdir(), key=lambda path: path.name)
        if (match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name))
    ]


def trip_row(values: Iterable[Any]) -> TripRow:
    """A row of `stg.complete_trip`, its columns those of SELECTED, as a TripRow."""
    row = list(values)
    pickup, dropoff = row[_ROW_PICKUP], row[_ROW_DROPOFF]
    row[_ROW_PICKUP], row[_ROW_DROPOFF] = time_text(pickup), time_text(dropoff)
    for position in _ROW_MONEY:
        if row[position] is not None:
            row[position] = float(row[position])
    row[-1] = canonical_extra(row[-1])
    return (microseconds(pickup), microseconds(dropoff), *row)
