"""What is counted of trips in windows: additive figures, all integers, so that sums do not depend on order. Pure.

Means, the city, the busiest zones are views over them (`mart.*`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from chillflow.model.structs import StructClass, derive
from chillflow.model.trips import Int, TripValues, UtcTime, milliseconds

__all__ = [
    "MEASURES",
    "Change",
    "WindowValues",
    "ZoneWindow",
    "ZoneWindowStruct",
    "change_of",
    "taken_out",
]

MEASURES = (
    "trips",
    "timed_trips",
    "card_trips",
    "cash_trips",
    "total_amount",
    "fare_amount",
    "tip_amount",
    "distance_m",
    "duration_s",
)
"""The figures of a window, in their order everywhere; money is in cents. Each begins at 0, is added to by a trip,
and merged by addition."""

Change: TypeAlias = tuple[int, ...]
"""What a trip changes: its pickup zone, its drop-off in ms, then a number for each of MEASURES."""

_CARD, _CASH = 1, 2  # TLC's payment types
_DOLLARS = 10**8 - 0.005
"""What `numeric(10, 2)` holds."""
_KILOMETRES = 10**6
_LAST = datetime.max.replace(tzinfo=UTC) - timedelta(days=2)
"""A later window would end after the last time there is."""


class ZoneWindow(BaseModel):
    """The figures of one pickup zone in one window of drop-off times, half-open; money in dollars."""

    model_config = ConfigDict(frozen=True)

    pu_zone_id: Int
    zone: str | None = Field(description="name of the zone, if TLC knows it")
    borough: str | None
    window_start: UtcTime
    window_end: UtcTime
    window_minutes: int
    trips: int
    timed_trips: int = Field(description="trips whose drop-off is after their pickup")
    card_trips: int
    cash_trips: int
    total_amount: float
    fare_amount: float
    tip_amount: float
    distance_m: int = Field(description="of timed trips")
    duration_s: int = Field(description="of timed trips")
    final: bool = Field(description="whether stream time has passed the end; a late trip still changes a final window")
    changes: int = Field(description="how many changes it has taken in: of two messages the one with more is newer")


class WindowValues(Protocol):
    """The values of a window that code reads by name: a `ZoneWindow`, or its struct."""

    @property
    def pu_zone_id(self) -> int:
        """Pickup zone."""

    @property
    def window_start(self) -> datetime:
        """In UTC."""

    @property
    def window_end(self) -> datetime:
        """In UTC; not in the window."""

    @property
    def window_minutes(self) -> int:
        """Length of the window."""


ZoneWindowStruct: StructClass[WindowValues] = derive(ZoneWindow)


def change_of(trip: TripValues) -> Change | None:
    """What a trip (a CompleteTrip or its struct) adds to the windows of its zone.

    None if its figures make no sense in a sum: money that no table could hold, a distance that is not of this earth.
    """
    total, fare, tip = trip.total_amount or 0.0, trip.fare_amount or 0.0, trip.tip_amount or 0.0
    kilometres, minutes, kind = trip.distance_km or 0.0, trip.duration_min, trip.payment_type
    if not (
        -_DOLLARS < total < _DOLLARS
        and -_DOLLARS < fare < _DOLLARS
        and -_DOLLARS < tip < _DOLLARS
        and kilometres < _KILOMETRES
        and trip.dropoff_ts < _LAST
    ):
        return None
    return (
        trip.pu_zone_id,
        milliseconds(trip.dropoff_ts),
        1,
        0 if minutes is None else 1,
        1 if kind == _CARD else 0,
        1 if kind == _CASH else 0,
        _cents(total),
        _cents(fare),
        _cents(tip),
        0 if minutes is None else round(kilometres * 1000),
        0 if minutes is None else round(minutes * 60),
    )


def taken_out(change: Sequence[int]) -> Change:
    """The change that undoes this one."""
    return (change[0], change[1], *(-figure for figure in change[2:]))


def _cents(dollars: float) -> int:
    """To the cent as the tables round it: half to even on the exact binary value.

    What is all but a whole number of cents, as fares are, is quickly rounded; the exact way takes four times as long.
    """
    cents = dollars * 100
    nearest = round(cents)
    return nearest if -1e-4 < cents - nearest < 1e-4 else round(round(dollars, 2) * 100)
