"""The tables: trips and windows as rows, what a row cannot hold, and the migrations. For all databases alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from chillflow.analytics import FIGURES
from chillflow.assembly import Result
from chillflow.codec import CompleteTripStruct, encode_value, time_text
from chillflow.events import PaymentProcessedEvent
from chillflow.splitting import ROW_FIELDS, TripRow
from chillflow.trips import TRIP_FIELDS, CompleteTrip, canonical_extra, microseconds

__all__ = [
    "ASSEMBLED",
    "COMPLETE_TRIP",
    "INCOMPLETE_TRIP",
    "MONEY",
    "SELECTED",
    "TABLES",
    "ZONE_WINDOW",
    "Database",
    "Migration",
    "Retire",
    "Row",
    "Rows",
    "Table",
    "UnfitError",
    "incomplete_row",
    "migrations",
    "refusal",
    "to_table_row",
    "trip_row",
    "window_row",
]

Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Table:
    """A table with a row a key, which gives way only to a newer one."""

    schema: str
    name: str
    columns: tuple[str, ...]
    """The columns that are written, in the order of a row: those of the key first."""
    key: tuple[str, ...]
    guard: tuple[str, ...]
    """The columns that say which of two rows is newer: the one that is greater in the first, then in the next."""
    times: tuple[str, ...]
    """The columns that hold times."""


_TRIP: dict[str, Any] = {"key": ("trip_key",), "guard": ("revision",), "times": ("pickup_ts", "dropoff_ts")}
COMPLETE_TRIP = Table("stg", "complete_trip", (*CompleteTrip.model_fields, "source"), **_TRIP)
INCOMPLETE_TRIP = Table(
    "stg",
    "incomplete_trip",
    (
        "trip_key",
        "revision",
        "missing",
        "completed",
        "pickup_ts",
        "dropoff_ts",
        "pu_zone_id",
        "do_zone_id",
        "known",
    ),
    **_TRIP,
)
ZONE_WINDOW = Table(
    "mart",
    "zone_window",
    ("pu_zone_id", "window_start", "window_minutes", "window_end", *FIGURES, "final", "changes"),
    key=("pu_zone_id", "window_start", "window_minutes"),
    guard=("changes", "final"),
    times=("window_start", "window_end"),
)
TABLES = (COMPLETE_TRIP, INCOMPLETE_TRIP, ZONE_WINDOW)
Rows: TypeAlias = dict[Table, list[Row]]
"""Rows to write, by table."""


ASSEMBLED = {COMPLETE_TRIP: "source = 'stream'", INCOMPLETE_TRIP: "true", ZONE_WINDOW: "true"}
"""Which rows of each table assembly has written."""


class Retire(NamedTuple):
    """Windows that have outlived their use: those that ended at this time or earlier."""

    before: datetime


MONEY = tuple(name for name in PaymentProcessedEvent.model_fields if name in TRIP_FIELDS and name != "payment_type")
_MONEY_LIMIT = 10**8 - 0.005
"""`numeric(10, 2)` holds what is rounded below a hundred million."""
_KEY_BYTES = 2000
"""Postgres indexes at most about 2,700 bytes of a key."""
_AMOUNTS = 65_536
"""So many different ones are remembered."""
_EXTRA = COMPLETE_TRIP.columns.index("extra_columns")
_MONEY = _EXTRA - len(MONEY)
assert COMPLETE_TRIP.columns[_MONEY:_EXTRA] == MONEY
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


def migrations() -> list[Migration]:
    """All steps, in their order."""
    return [
        Migration(int(match[1]), match[2], file.read_text())
        for file in sorted((files(__package__) / "migrations").iterdir(), key=lambda path: path.name)
        if (match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name))
    ]


class UnfitError(ValueError):
    """A trip that its table cannot hold, and why."""


class _Cents(dict[Any, Any]):
    """Amounts to the cent. The same come again and again: to look one up takes a quarter of the time of rounding it."""

    def __missing__(self, dollars: float | None) -> float | None:
        if dollars is not None and abs(dollars) >= _MONEY_LIMIT:
            raise OverflowError
        if len(self) > _AMOUNTS:
            self.clear()
        cents = self[dollars] = None if dollars is None else round(dollars, 2)
        return cents


_to_the_cent: Callable[[float | None], float | None] = _Cents().__getitem__


def to_table_row(trip: CompleteTripStruct, source: str) -> Row:
    """A trip as a row: money to the cent (half to even on the exact binary value), extra columns as JSON.

    Raises UnfitError, so that the sink never meets what the table cannot hold.
    """
    values = msgspec.structs.astuple(trip)
    extra, key, flag = values[_EXTRA], trip.trip_key, trip.store_and_fwd_flag
    try:
        money = [*map(_to_the_cent, values[_MONEY:_EXTRA])]
        is_plain = extra is None and "\0" not in key and len(key) * 4 <= _KEY_BYTES and (not flag or "\0" not in flag)
    except OverflowError:
        is_plain = False
    if not is_plain and (reason := refusal(trip)):
        raise UnfitError(reason)
    return (
        *values[:_MONEY],
        *money,
        None if extra is None else encode_value(extra).decode(),
        *values[_EXTRA + 1 :],
        source,
    )


def incomplete_row(result: Result) -> Row | None:
    """The row of `stg.incomplete_trip` that a result makes or marks as completed, or None."""
    incomplete = result if result.missing else result.was
    if incomplete is None:
        return None
    trip = incomplete.trip
    fields = msgspec.structs.asdict(trip)
    known = {name: fields[name] for name in TRIP_FIELDS if fields[name] is not None}
    return (
        trip.trip_key,
        result.trip.revision,
        encode_value(incomplete.missing).decode(),
        not result.missing,
        trip.pickup_ts,
        trip.dropoff_ts,
        trip.pu_zone_id,
        trip.do_zone_id,
        encode_value(known).decode(),
    )


window_row: Callable[[Any], Row] = attrgetter(*ZONE_WINDOW.columns)
"""A window (a ZoneWindow or its struct) as a row of `mart.zone_window`."""


def refusal(trip: CompleteTripStruct) -> str | None:
    """Why a table cannot hold the trip, or None."""
    if len(trip.trip_key.encode()) > _KEY_BYTES:
        return f"trip_key is longer than {_KEY_BYTES} bytes"
    texts = (trip.trip_key, trip.store_and_fwd_flag or "")
    if any("\0" in text for text in texts) or (trip.extra_columns and _has_nul(trip.extra_columns)):
        return "a text holds a NUL character"
    for name in MONEY:
        amount = getattr(trip, name)
        if amount is not None and abs(amount) >= _MONEY_LIMIT:
            return f"{name} {amount} does not fit numeric(10, 2)"
    return None


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any("\0" in name or _has_nul(inner) for name, inner in value.items())
        case list():
            return any(map(_has_nul, value))
        case _:
            return False


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
