"""CompleteTrip, the names of its fields, and its trip_key. Pure.

A field has one name on the wire, in `CompleteTrip` and as a column of `stg.complete_trip`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from chillflow.model.structs import Json, parse_time
from chillflow.settings import DEFAULT_TIME_ZONE

__all__ = [
    "DERIVED_FIELDS",
    "KM_PER_MILE",
    "TRIP_FIELDS",
    "CompleteTrip",
    "IncompleteTrip",
    "Int",
    "TripValues",
    "UtcTime",
    "canonical_extra",
    "derived",
    "microseconds",
    "milliseconds",
    "numbered_key",
    "row_digest",
    "text_digest",
]

KM_PER_MILE = 1.609344
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FARTHEST = 1e290
"""Miles; beyond this the derived values would not be finite."""
DERIVED_FIELDS = ("distance_km", "duration_min", "avg_speed_kmh")


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError("a time needs a UTC offset")
    try:
        return value.astimezone(UTC)
    except OverflowError:  # in the years 1 and 9999
        raise ValueError("the time is outside the years 1 to 9999 in UTC") from None


def _parsed(value: object) -> object:
    return parse_time(value) if isinstance(value, str) else value


def _local(value: Any, info: ValidationInfo) -> Any:
    """The time with an offset; a naive one is wall time, the first of the two in an ambiguous hour."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=ZoneInfo((info.context or {}).get("time_zone", DEFAULT_TIME_ZONE)))
    return value


def canonical_extra(value: object) -> Json:
    """The canonical form of a value of an unknown column, the same for any Parquet type of the column.

    Null means missing: None at the top level, no entry in an object. A whole number is an int, names are sorted, times
    are text.
    """
    match value:
        case Mapping():
            pairs = ((str(name), canonical_extra(inner)) for name, inner in sorted(value.items()))
            return {name: inner for name, inner in pairs if inner is not None} or None
        case list() | tuple():
            return [canonical_extra(inner) for inner in value]
        case bool() | str() | None:
            return value
        case int():
            return value if -(2**63) <= value < 2**64 else _as_float(value)
        case float() | Decimal():
            return _as_number(float(value) if isinstance(value, Decimal) else value)
        case _:
            return _as_text(value)


def _as_float(value: int) -> float | None:
    try:
        return float(value)
    except OverflowError:  # a column of floats would hold infinity
        return None


def _as_number(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and -(2.0**63) <= value < 2.0**64 else value


def _as_text(value: object) -> str:
    match value:
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case datetime():
            return (_to_utc(value) if value.tzinfo else value).isoformat().replace("+00:00", "Z")
        case _:  # date, time, timedelta
            return str(value)


UtcTime = Annotated[datetime, BeforeValidator(_parsed), AfterValidator(_to_utc)]
"""An aware time, made UTC; RFC 3339 on the wire."""
LocalTime = Annotated[datetime, BeforeValidator(_local), AfterValidator(_to_utc)]
"""An aware time; a naive one is read in the `time_zone` of the validation context, by default New York's."""
Int = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
"""An int that fits a column of type `integer`."""
Float = Annotated[float, Field(allow_inf_nan=False)]
Extra = Annotated[dict[str, Json] | None, BeforeValidator(canonical_extra)]


class TripValues(Protocol):
    """The values of a trip that code reads by name, common to `CompleteTrip` and `CompleteTripStruct`.

    The struct of an incomplete trip has None for every unknown value, also for times and zones.
    """

    @property
    def trip_key(self) -> str:
        """SHA-256 of the source row in hex, or any text if the source has a key."""

    @property
    def pickup_ts(self) -> datetime:
        """Aware."""

    @property
    def dropoff_ts(self) -> datetime:
        """Aware; not always after the pickup."""

    @property
    def pu_zone_id(self) -> int:
        """Pickup zone."""

    @property
    def do_zone_id(self) -> int:
        """Drop-off zone."""

    @property
    def store_and_fwd_flag(self) -> str | None:
        """`Y` or `N` in TLC's files."""

    @property
    def trip_distance(self) -> float | None:
        """Miles."""

    @property
    def payment_type(self) -> int | None:
        """1 is card, 2 is cash."""

    @property
    def fare_amount(self) -> float | None:
        """Dollars."""

    @property
    def tip_amount(self) -> float | None:
        """Dollars."""

    @property
    def total_amount(self) -> float | None:
        """Dollars."""

    @property
    def extra_columns(self) -> dict[str, Json] | None:
        """Columns this library does not know, by name."""

    @property
    def distance_km(self) -> float | None:
        """Kilometres."""

    @property
    def duration_min(self) -> float | None:
        """Minutes; None unless positive."""

    @property
    def revision(self) -> int:
        """0 when loaded, from 1 when assembled."""


class CompleteTrip(BaseModel):
    """A complete trip: a TLC row, or a trip assembled from its events.

    Only the two times and the two zones are required; `trip_key` is computed from the other fields unless given.
    Times without an offset are New York wall time; for another zone use
    `CompleteTrip.model_validate(values, context={"time_zone": "Europe/Berlin"})`. Distances are miles, as TLC publishes
    them, and money is dollars. Assembly sets the derived fields and `revision`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trip_key: str = Field("", description="SHA-256 of the source row in hex, or any text if the source has a key")
    service: Literal["yellow", "green"] | None = None
    vendor_id: Int | None = None
    pickup_ts: LocalTime
    dropoff_ts: LocalTime
    pu_zone_id: Int
    do_zone_id: Int
    passenger_count: Int | None = None
    rate_code: Int | None = None
    store_and_fwd_flag: str | None = None
    trip_type: Int | None = None
    trip_distance: Float | None = Field(None, description="miles")
    payment_type: Int | None = None
    fare_amount: Float | None = None
    extra: Float | None = None
    mta_tax: Float | None = None
    tip_amount: Float | None = None
    tolls_amount: Float | None = None
    improvement_surcharge: Float | None = None
    congestion_surcharge: Float | None = None
    airport_fee: Float | None = None
    cbd_congestion_fee: Float | None = None
    ehail_fee: Float | None = None
    total_amount: Float | None = None
    extra_columns: Extra = Field(None, description="columns this library does not know, by name")
    distance_km: Float | None = Field(None, description="derived on assembly")
    duration_min: Float | None = Field(None, description="derived on assembly; null unless positive")
    avg_speed_kmh: Float | None = Field(None, description="derived on assembly; null without a duration")
    revision: int = Field(0, ge=0, description="0 when loaded, from 1 when assembled")

    @model_validator(mode="after")
    def _keyed(self) -> CompleteTrip:
        if not self.trip_key:
            object.__setattr__(self, "trip_key", numbered_key(row_digest(self._key_values()), 0))
        return self

    def _key_values(self) -> Iterable[tuple[str, object]]:
        for name in TRIP_FIELDS:
            value = getattr(self, name)
            yield name, microseconds(value) if isinstance(value, datetime) else value


TRIP_FIELDS = tuple(name for name in CompleteTrip.model_fields if name not in (*DERIVED_FIELDS, "trip_key", "revision"))
"""The fields that a source row has, in the order of `CompleteTrip`."""


class IncompleteTrip(BaseModel):
    """A trip that timed out: the known fields of `CompleteTrip`, and the types of the missing events."""

    model_config = ConfigDict(frozen=True)

    trip_key: str
    missing: tuple[str, ...] = Field(description="types of the events that are missing")
    fields: dict[str, Any] = Field(description="the known fields of the trip by name")
    revision: int = Field(ge=1)


def microseconds(time: datetime) -> int:
    """The time in µs since 1970; exact, unlike a float of seconds."""
    return (time - _EPOCH) // _MICROSECOND


def milliseconds(time: datetime) -> int:
    """The time in whole ms since 1970, rounded down, as in message timestamps."""
    since = time - _EPOCH  # dividing by a timedelta takes twice as long
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def row_digest(values: Iterable[tuple[str, object]]) -> bytes:
    """SHA-256 of a source row in canonical form: `(field, value)` pairs without nulls, times in µs.

    Keys stay in topics and tables for years: `ascii()` writes numbers and text the same in every version of Python.
    """
    return text_digest(", ".join([ascii(pair) for pair in values if pair[1] is not None]))


def text_digest(canonical: str) -> bytes:
    """SHA-256 of a row given as its canonical text: pairs as `ascii()` writes them, joined by ", "."""
    return hashlib.sha256(f"[{canonical}]".encode()).digest()


def numbered_key(digest: bytes, number: int) -> str:
    """The trip_key of a row, where `number` counts identical rows of a file from 0."""
    return digest.hex() if number == 0 else hashlib.sha256(digest + b"#%d" % number).hexdigest()


def derived(
    trip_distance: float | None, pickup: datetime, dropoff: datetime
) -> tuple[float | None, float | None, float | None]:
    """The values of DERIVED_FIELDS; None where they have no meaning."""
    km = trip_distance * KM_PER_MILE if trip_distance is not None and 0 <= trip_distance < _FARTHEST else None
    seconds = (dropoff - pickup).total_seconds()
    if seconds <= 0:
        return km, None, None
    speed = km * 3600 / seconds if km is not None else None
    return km, seconds / 60, speed
