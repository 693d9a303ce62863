"""What is counted of trips in windows: additive figures, all integers, so that sums do not depend on order. Pure.

Means, the city, the busiest zones are views over them (`mart.*`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from chillflow.structs import derive
from chillflow.trips import Int, UtcTime, milliseconds

__all__ = [
    "FIGURES",
    "MONEY_FIGURES",
    "Change",
    "ZoneWindow",
    "ZoneWindowStruct",
    "change_of",
    "countable",
    "taken_out",
]

FIGURES = (
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
MONEY_FIGURES = frozenset(("total_amount", "fare_amount", "tip_amount"))

Change: TypeAlias = tuple[int, ...]
"""What a trip changes: its pickup zone, its drop-off in ms, then a number for each of FIGURES."""

_CARD, _CASH = 1, 2  # TLC's payment types
_DOLLARS = 10**8 - 0.005
"""What `numeric(10, 2)` holds."""
_KILOMETRES = 10**6
_LAST = datetime.max.replace(tzinfo=timezone.utc) - timedelta(days=2)
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


ZoneWindowStruct: Any = derive(ZoneWindow)


def countable(trip: Any) -> bool:
    """Whether the trip's figures make sense in a sum: money that a table could hold, a distance on this earth."""
    for amount in (trip.total_amount, trip.fare_amount, trip.tip_amount):
        if amount is not None and not -_DOLLARS < amount < _DOLLARS:
            return False
    return bool((trip.distance_km or 0) < _KILOMETRES and trip.dropoff_ts < _LAST)


def change_of(trip: Any) -> Change:
    """What a trip (a CompleteTrip or its struct) adds to the windows of its zone."""
    timed = trip.duration_min is not None
    return (
        trip.pu_zone_id,
        milliseconds(trip.dropoff_ts),
        1,
        int(timed),
        int(trip.payment_type == _CARD),
        int(trip.payment_type == _CASH),
        _cents(trip.total_amount),
        _cents(trip.fare_amount),
        _cents(trip.tip_amount),
        round(trip.distance_km * 1000) if timed and trip.distance_km is not None else 0,
        round(trip.duration_min * 60) if timed else 0,
    )


def taken_out(change: Sequence[int]) -> Change:
    """The change that undoes this one."""
    return (change[0], change[1], *(-figure for figure in change[2:]))


def _cents(dollars: float | None) -> int:
    """To the cent as the tables round it: half to even on the exact binary value."""
    return round(round(dollars, 2) * 100) if dollars else 0
