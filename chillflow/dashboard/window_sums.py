"""Measures of the city page: names, computation from a window's sums, and format."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

__all__ = ["MEASURES", "MapMeasure", "SummedWindow", "Sums", "ZoneSums"]


class Sums(NamedTuple):
    """Measures that add up over zones and windows."""

    trips: int = 0
    revenue: float = 0
    """Dollars, total amounts paid."""
    tips: float = 0
    """Dollars; TLC records tips of card payments only."""
    timed_trips: int = 0
    """Trips with a positive duration; `distance_m` and `duration_s` are sums over these."""
    card_trips: int = 0
    distance_m: int = 0
    duration_s: int = 0

    @property
    def speed(self) -> float | None:
        """Average of the timed trips, km/h; None without any."""
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


class MapMeasure(NamedTuple):
    """A measure that colours the map and has a curve over the day."""

    label: str
    of: Callable[[Sums], float | None]
    write: Callable[[float], str]
    unit: str = ""
    digits: int = 0
    """Decimals."""
    top: float | None = None
    """The end of its colour scale, if fixed."""

    @property
    def head(self) -> str:
        """Column heading, with the unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    def rounded(self, sums: Sums) -> float | None:
        """The measure as a number; None if undefined."""
        value = self.of(sums)
        return None if value is None else round(value, self.digits)

    def text(self, sums: Sums) -> str:
        """The measure as text; a dash if undefined."""
        value = self.of(sums)
        return "–" if value is None else self.write(value)


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _dollars(value: float) -> str:
    return f"${value:,.2f}" if abs(value) < 10_000 else f"${value:,.0f}"


def _speed(value: float) -> str:
    return f"{value:.1f} km/h"


MEASURES = {
    "trips": MapMeasure("Trips", lambda sums: sums.trips, _count),
    "revenue": MapMeasure("Revenue", lambda sums: sums.revenue, _dollars, "$", 2),
    "tips": MapMeasure("Tips", lambda sums: sums.tips, _dollars, "$", 2),
    "speed": MapMeasure("Speed", lambda sums: sums.speed, _speed, "km/h", 1, top=50),
}
"""By name."""
