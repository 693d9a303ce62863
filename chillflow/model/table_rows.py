"""Trips and windows as rows of tables in any database, and the trips that a table cannot hold. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple, TypeAlias, cast

from chillflow.model.codec import encode_value
from chillflow.model.events import PaymentProcessedEvent
from chillflow.model.measures import MEASURES, MONEY_LIMIT, WindowValues
from chillflow.model.structs import Json, as_dict, as_tuple
from chillflow.model.trips import TRIP_FIELDS, CompleteTrip, TripValues

__all__ = [
    "COMPLETE_TRIP",
    "INCOMPLETE_TRIP",
    "MONEY",
    "TABLES",
    "ZONE_WINDOW",
    "Retire",
    "Row",
    "Rows",
    "Table",
    "UnfitError",
    "incomplete_row",
    "refusal",
    "to_table_row",
    "window_row",
]

Row: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class Table:
    """A table with one row per key, which only a newer row replaces."""

    schema: str
    name: str
    columns: tuple[str, ...]
    """The columns in the order of a row, those of the key first."""
    key: tuple[str, ...]
    guard: tuple[str, ...]
    """The columns that order the rows of a key: the newer row is greater, compared as a tuple."""
    times: tuple[str, ...]


def _trip_table(name: str, columns: tuple[str, ...]) -> Table:
    return Table("stg", name, columns, key=("trip_key",), guard=("revision",), times=("pickup_ts", "dropoff_ts"))


COMPLETE_TRIP = _trip_table("complete_trip", (*CompleteTrip.model_fields, "source"))
INCOMPLETE_TRIP = _trip_table(
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
)
ZONE_WINDOW = Table(
    "mart",
    "zone_window",
    ("pu_zone_id", "window_start", "window_minutes", "window_end", *MEASURES, "final", "changes"),
    key=("pu_zone_id", "window_start", "window_minutes"),
    guard=("changes", "final"),
    times=("window_start", "window_end"),
)
TABLES = (COMPLETE_TRIP, INCOMPLETE_TRIP, ZONE_WINDOW)
Rows: TypeAlias = dict[Table, list[Row]]
"""Rows to upsert, by table."""


class Retire(NamedTuple):
    """A command to delete windows past their retention: those that ended at `before` or earlier."""

    before: datetime


MONEY = tuple(name for name in PaymentProcessedEvent.model_fields if name in TRIP_FIELDS and name != "payment_type")
"""The columns of amounts in dollars."""
_KEY_BYTES = 2000
"""Postgres can index keys of up to about 2,700 bytes."""
_CACHED_AMOUNTS = 65_536
_EXTRA = COMPLETE_TRIP.columns.index("extra_columns")
_MONEY = _EXTRA - len(MONEY)
assert COMPLETE_TRIP.columns[_MONEY:_EXTRA] == MONEY


class UnfitError(ValueError):
    """A table cannot hold the trip; the message is the reason."""


class _Cents(dict[float | None, float | None]):
    """A cache of amounts rounded to the cent: amounts repeat, and a lookup takes a quarter of the time."""

    def __missing__(self, dollars: float | None) -> float | None:
        if dollars is not None and abs(dollars) >= MONEY_LIMIT:
            raise OverflowError
        if len(self) > _CACHED_AMOUNTS:
            self.clear()
        cents = self[dollars] = None if dollars is None else round(dollars, 2)
        return cents


_to_the_cent = cast("Callable[[object], float | None]", _Cents().__getitem__)


def to_table_row(trip: TripValues, source: str) -> Row:
    """A row of `stg.complete_trip`: money to the cent (half to even on the exact binary value), extra columns as JSON.

    Raises UnfitError for a trip that the table cannot hold.
    """
    values = as_tuple(trip)
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


def incomplete_row(trip: TripValues, missing: tuple[str, ...], *, revision: int, is_completed: bool) -> Row:
    """A row of `stg.incomplete_trip`; `is_completed` if the missing events have arrived since."""
    fields = as_dict(trip)
    known = {name: fields[name] for name in TRIP_FIELDS if fields[name] is not None}
    return (
        trip.trip_key,
        revision,
        encode_value(missing).decode(),
        is_completed,
        trip.pickup_ts,
        trip.dropoff_ts,
        trip.pu_zone_id,
        trip.do_zone_id,
        encode_value(known).decode(),
    )


window_row: Callable[[WindowValues], Row] = attrgetter(*ZONE_WINDOW.columns)
"""A row of `mart.zone_window`."""


def refusal(trip: TripValues) -> str | None:
    """The reason why a table cannot hold the trip, or None."""
    if len(trip.trip_key.encode()) > _KEY_BYTES:
        return f"trip_key is longer than {_KEY_BYTES} bytes"
    texts = (trip.trip_key, trip.store_and_fwd_flag or "")
    if any("\0" in text for text in texts) or (trip.extra_columns and _has_nul(trip.extra_columns)):
        return "a text holds a NUL character"
    for name in MONEY:
        amount = getattr(trip, name)
        if amount is not None and abs(amount) >= MONEY_LIMIT:
            return f"{name} {amount} does not fit numeric(10, 2)"
    return None


def _has_nul(value: Json) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any("\0" in name or _has_nul(inner) for name, inner in value.items())
        case list():
            return any(map(_has_nul, value))
        case _:
            return False
