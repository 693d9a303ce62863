"""The figures that can be looked at: what each is called, how it is made of a window's sums, and how it is written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

__all__ = ["MEASURES", "Figure", "SummedWindow", "Sums", "ZoneSums"]


class Sums(NamedTuple):
    """What adds up over zones and windows."""

    trips: int = 0
    revenue: float = 0
    """Dollars, all that was paid."""
    tips: float = 0
    """Dollars; those that TLC knows, of cards."""
    timed_trips: int = 0
    """Those that ended after they began; distance and time are theirs."""
    card_trips: int = 0
    distance_m: int = 0
    duration_s: int = 0

    @property
    def speed(self) -> float | None:
        """km/h over all trips that took time; None where there is none."""
        return 3.6 * self.distance_m / self.duration_s if self.duration_s else None


class ZoneSums(NamedTuple):
    """A zone in a window."""

    zone_id: int
    sums: Sums
    final: bool


class SummedWindow(NamedTuple):
    """The city, or one zone, in a window."""

    start: datetime
    sums: Sums
    final: bool


class Figure(NamedTuple):
    """A figure that the map is coloured by."""

    label: str
    of: Callable[[Sums], float | None]
    write: Callable[[float], str]
    unit: str = ""
    digits: int = 0
    """That matter."""
    top: float | None = None
    """The end of its scale, where that is always the same."""

    @property
    def head(self) -> str:
        """What stands above numbers without a unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    def rounded(self, sums: Sums) -> float | None:
        """The figure as a number; None where there is none."""
        value = self.of(sums)
        return None if value is None else round(value, self.digits)

    def text(self, sums: Sums) -> str:
        """The figure for people; a dash where there is none."""
        value = self.of(sums)
        return "–" if value is None else self.write(value)


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _dollars(value: float) -> str:
    return f"${value:,.2f}" if abs(value) < 10_000 else f"${value:,.0f}"


def _speed(value: float) -> str:
    return f"{value:.1f} km/h"


MEASURES = {
    "trips": Figure("Trips", lambda sums: sums.trips, _count),
    "revenue": Figure("Revenue", lambda sums: sums.revenue, _dollars, "$", 2),
    "tips": Figure("Tips", lambda sums: sums.tips, _dollars, "$", 2),
    "speed": Figure("Speed", lambda sums: sums.speed, _speed, "km/h", 1, top=50),
}
"""By name."""
