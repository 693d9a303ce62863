"""What every database of trips can do, and the migrations that make its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files
from typing import NamedTuple, Protocol

from chillflow.model.table_rows import COMPLETE_TRIP, INCOMPLETE_TRIP, ZONE_WINDOW, Row, Rows
from chillflow.model.trips import TRIP_FIELDS

__all__ = ["ASSEMBLED", "READ_ROWS", "TRIP_COLUMNS", "Database", "Migration", "migrations"]

ASSEMBLED = {COMPLETE_TRIP: "source = 'stream'", INCOMPLETE_TRIP: "true", ZONE_WINDOW: "true"}
"""Which rows of each table assembly has written."""
TRIP_COLUMNS = ("trip_key", *TRIP_FIELDS)
"""The columns that `Database.trips` reads."""
READ_ROWS = 20_000
"""Rows of a batch of `Database.trips`. A replay then takes 250 MB; with 50,000 it is 310 MB and 5 % less CPU time."""


class Migration(NamedTuple):
    """One step of the schema. Steps are only ever added."""

    version: int
    name: str
    sql: str


class Database(Protocol):
    """A database of trips. Methods raise DatabaseError and its kind."""

    parallel: bool
    """Whether several connections can write at once."""

    def migrate(self) -> list[str]:
        """Apply what is missing; the names of the migrations applied."""

    def applied(self) -> set[int]:
        """Versions of the migrations that have been applied. Changes nothing."""

    def check(self) -> None:
        """Raise MissingTableError unless the tables are there."""

    def clock(self) -> datetime | None:
        """The server's time; None where there is no server."""

    def empty(self) -> dict[str, int]:
        """Delete what assembly has written; how many rows of each table. Trips that were only loaded stay."""

    def upsert(self, rows: Rows) -> None:
        """Write rows in one transaction; a row stays as it is where what is written is not newer."""

    def retire_windows(self, before: datetime) -> int:
        """Delete the rows of `mart.zone_window` that ended at this time or earlier; how many."""

    def trips(
        self, *, trip_key: str | None, since: datetime | None, until: datetime | None, limit: int | None
    ) -> Iterator[list[Row]]:
        """Batches of rows of `stg.complete_trip`, ordered by the earlier of the two times, then by trip_key.

        A row has the values of TRIP_COLUMNS as the driver gives them: times as datetime or ISO text with offset, money
        as int or float, `extra_columns` as JSON text. `limit` takes the oldest pickups.
        """

    def count(self) -> int:
        """Rows of `stg.complete_trip`."""

    def close(self) -> None:
        """Close the connection, if there is one."""


def migrations() -> list[Migration]:
    """All steps, in their order."""
    return [
        Migration(int(match[1]), match[2], file.read_text())
        for file in sorted((files(__package__) / "migrations").iterdir(), key=lambda path: path.name)
        if (match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name))
    ]
