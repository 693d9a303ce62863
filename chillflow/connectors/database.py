"""The protocol of a database of trips, and the migrations that create its tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from importlib.resources import files
from typing import LiteralString, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from chillflow.errors import DatabaseError
from chillflow.model.table_rows import COMPLETE_TRIP, INCOMPLETE_TRIP, ZONE_WINDOW, Row, Rows, Table
from chillflow.model.trips import TRIP_FIELDS

__all__ = [
    "ASSEMBLED",
    "READ_ROWS",
    "TRIP_COLUMNS",
    "Database",
    "Reader",
    "Statement",
    "Values",
    "migrations",
    "on_conflict",
    "typed",
]

ASSEMBLED = {COMPLETE_TRIP: "source = 'stream'", INCOMPLETE_TRIP: "true", ZONE_WINDOW: "true"}
"""By table, the condition that selects the rows assembly wrote."""
TRIP_COLUMNS = ("trip_key", *TRIP_FIELDS)
"""The columns that `Database.trips` reads."""
READ_ROWS = 10_000
"""Rows in a batch of `Database.trips`. A replay of 300,000 trips takes 300 MB, 156 of them for the program itself; with
20,000 rows it takes 370 MB and 4 % less CPU time, with 5,000 rows 220 MB and 11 % more."""


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
        """Versions of the applied migrations. Creates nothing."""

    def check(self) -> None:
        """Raise MissingTableError unless all tables exist."""

    def clock(self) -> datetime | None:
        """The server's time; None without a server."""

    def empty(self) -> dict[str, int]:
        """Delete the rows that assembly wrote; returns their number by table. Loaded trips stay."""

    def upsert(self, rows: Rows) -> None:
        """Upsert rows in one transaction. Only a newer row, by the table's guard, replaces an existing one."""

    def retire_windows(self, before: datetime) -> int:
        """Delete the rows of `mart.zone_window` that ended at `before` or earlier; returns their number."""

    def trips(
        self, *, trip_key: str | None, since: datetime | None, until: datetime | None, limit: int | None
    ) -> Iterator[list[Row]]:
        """Batches of rows of `stg.complete_trip`, ordered by the earlier of the two times, then by trip_key.

        A row has the values of TRIP_COLUMNS as the driver returns them: times as datetime or ISO text with offset,
        money as int or float, `extra_columns` as JSON text. `limit` selects the earliest pickups.
        """

    def close(self) -> None:
        """Close the connection, if one is open."""


T = TypeVar("T")
Statement: TypeAlias = LiteralString
"""SQL with `schema.table` names and values as `%(name)s`: a constant, never built from input."""
Values: TypeAlias = Mapping[str, str | int | datetime]


class Reader(Protocol):
    """A read-only session for one thread at a time. Methods raise DatabaseError and its subclasses."""

    def rows(self, statement: Statement, values: Values, kind: type[T]) -> list[T]:
        """The rows of a statement as `kind`, a tuple type."""

    def close(self) -> None:
        """Close the connection; the next statement opens a new one."""


def typed(rows: Iterable[Row], kind: type[T]) -> list[T]:
    """The rows converted to a tuple type: SQLite has no times or booleans, and Postgres sums are `numeric`."""
    try:
        return [msgspec.convert(row, kind, strict=False) for row in rows]
    except msgspec.ValidationError as error:
        raise DatabaseError(f"unexpected value in a row: {error}") from error


def on_conflict(table: Table, target: str) -> str:
    """The clause of an insert into `target` that makes it an upsert guarded by the table's guard."""
    changed = ", ".join(f"{name} = excluded.{name}" for name in table.columns[len(table.key) :])
    existing, newer = (", ".join(f"{row}.{name}" for name in table.guard) for row in (target, "excluded"))
    return (
        f"on conflict ({', '.join(table.key)}) do update set {changed}, updated_at = current_timestamp"
        f" where ({existing}) < ({newer})"
    )


def migrations() -> list[Migration]:
    """All migrations in order."""
    return [
        Migration(int(match[1]), match[2], file.read_text())
        for file in sorted((files(__package__) / "migrations").iterdir(), key=lambda path: path.name)
        if (match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name))
    ]
