"""Content of the city page: one window, its day, and the selected zone."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from chillflow.connectors.database import Reader
from chillflow.dashboard import queries
from chillflow.dashboard.days import LocalDay
from chillflow.dashboard.shared_queries import SharedQueries
from chillflow.dashboard.window_sums import SummedWindow, Sums, ZoneSums

__all__ = ["CityView", "read_city_view"]

_SCALE_MAX_AGE = 10.0
_FLOWS_MAX_AGE = 2.0


class CityView(NamedTuple):
    """One window of the city, from the tables."""

    lengths: list[int]
    """Window lengths in the tables, minutes."""
    minutes: int
    """Length of the window."""
    at: datetime
    """Start of the window."""
    day: LocalDay
    starts: list[datetime]
    """Starts of all windows of the day."""
    first: datetime
    """The first window in the table."""
    last: datetime
    zones: list[ZoneSums]
    windows: list[SummedWindow]
    """The day's windows, of the city or of the selected zone."""
    scale: queries.Scale
    flows: list[queries.Flow]

    @property
    def city(self) -> Sums:
        """Sums over all zones."""
        columns = zip(*(each.sums for each in self.zones), strict=True)
        return Sums(*map(sum, columns)) if self.zones else Sums()

    @property
    def state(self) -> str:
        """`final`, `provisional` or `no trips`."""
        if not self.zones:
            return "no trips"
        return "final" if all(each.final for each in self.zones) else "provisional"


async def read_city_view(
    tables: SharedQueries[Reader], time_zone: ZoneInfo, *, minutes: int | None, at: datetime | None, zone: int | None
) -> CityView | None:
    """A window (by default the newest, of the shortest length) and one zone in it; None without windows.

    Raises ChillFlowError.
    """
    newest = await tables.run(queries.newest)
    if not newest:
        return None
    length = minutes if minutes in newest else min(newest)
    start = at or newest[length]
    day = LocalDay.of(start, time_zone)
    starts = day.starts(length)
    if start not in starts:  # `at` is of another length, or of a window that began the day before
        start = max((each for each in starts if each <= start), default=starts[0])
    span = await tables.run(queries.span, length)
    first, last = span or (start, start)
    of_day = (length, day.since, day.until)
    return CityView(
        lengths=[*newest],
        minutes=length,
        at=start,
        day=day,
        starts=starts,
        first=first,
        last=last,
        zones=await tables.run(queries.zones, length, start),
        windows=await (tables.run(queries.city, *of_day) if zone is None else tables.run(queries.zone, zone, *of_day)),
        scale=await tables.run(queries.scale, *of_day, max_age=_SCALE_MAX_AGE),
        flows=[] if zone is None else await tables.run(queries.flows, zone, start, max_age=_FLOWS_MAX_AGE),
    )
