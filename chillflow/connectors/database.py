"""What every database of trips can do, and the migrations that make its tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from importlib.resources import files
from typing import Any, LiteralString, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from chillflow.errors import DatabaseError
from chillflow.model.codec import time_text
from chillflow.model.table_rows import COMPLETE_TRIP, INCOMPLETE_TRIP, MONEY, ZONE_WINDOW, Row, Rows
from chillflow.model.trips import canonical_extra, microseconds
from chillflow.production.splitting import ROW_FIELDS, TripRow

__all__ = [
    "ASSEMBLED",
    "SELECTED",
    "Database",
    "Migration",
    "Reader",
    "Statement",
    "Values",
    "migrations",
    "trip_row",
    "typed",
]

ASSEMBLED = {COMPLETE_TRIP: "source = 'stream'", INCOMPLETE_TRIP: "true", ZONE_WINDOW: "true"}
"""Which rows of each table assembly has written."""


SELECTED = ROW_FIELDS[2:]
"""The columns that are read to replay a trip."""
_ROW_PICKUP, _ROW_DROPOFF = SELECTED.index("pickup_ts"), SELECTED.index("dropoff_ts")
_ROW_MONEY = tuple(SELECTED.index(name) for name in MONEY)


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
    ) -> Iterator[TripRow]:
        """Trips of `stg.complete_trip`, oldest pickup first, in the order of the earlier of their times."""

    def count(self) -> int:
        """Rows of `stg.complete_trip`."""

    def close(self) -> None:
        """Close the connection, if there is one."""


R = TypeVar("R")
Statement: TypeAlias = LiteralString
"""SQL with `schema.table` names and values as `%(name)s`: a constant, never built from input."""
Values: TypeAlias = Mapping[str, str | int | datetime]


class Reader(Protocol):
    """A read-only session for one thread at a time. Methods raise DatabaseError and its kind."""

    def rows(self, statement: Statement, values: Values, kind: type[R]) -> list[R]:
        """The rows of a statement as `kind`, a tuple type."""

    def close(self) -> None:
        """Close the connection; the next statement opens a new one."""


def typed(rows: Iterable[Row], kind: type[R]) -> list[R]:
    """The rows as a tuple type: SQLite has no times or booleans, and sums in Postgres are `numeric`."""
    try:
        return [msgspec.convert(row, kind, strict=False) for row in rows]
    except msgspec.ValidationError as error:
        raise DatabaseError(f"unexpected value in a row: {error}") from error


def migrations() -> list[Migration]:
    """All steps, in their order."""
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
