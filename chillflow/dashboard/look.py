"""One look at the tables: what a page of the city shows at a time."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from chillflow.dashboard import queries
from chillflow.dashboard.days import LocalDay
from chillflow.dashboard.shared import Shared
from chillflow.dashboard.window_sums import SummedWindow, Sums, ZoneSums

__all__ = ["Look", "look"]

_SCALE_FRESH = 10.0
_FLOWS_FRESH = 2.0


class Look(NamedTuple):
    """What was found."""

    lengths: list[int]
    """Lengths of windows that there are, minutes."""
    minutes: int
    """That of the window."""
    at: datetime
    """Its start."""
    day: LocalDay
    starts: list[datetime]
    """Of all windows of the day."""
    first: datetime
    """The first window in the table."""
    last: datetime
    zones: list[ZoneSums]
    windows: list[SummedWindow]
    """Of the city, or of the zone that was chosen, over the day."""
    scale: queries.Scale
    flows: list[queries.Flow]

    @property
    def city(self) -> Sums:
        """All zones together."""
        columns = zip(*(each.sums for each in self.zones), strict=True)
        return Sums(*map(sum, columns)) if self.zones else Sums()

    @property
    def state(self) -> str:
        """Whether the window is final."""
        if not self.zones:
            return "no trips"
        return "final" if all(each.final for each in self.zones) else "provisional"


async def look(
    tables: Shared, time_zone: ZoneInfo, *, minutes: int | None, at: datetime | None, zone: int | None
) -> Look | None:
    """Look at a window (without `at`: the newest; without `minutes`: of the shortest length) and at a zone of it.

    None while there are no windows. Raises ChillFlowError.
    """
    ask = tables.ask
    newest = {each.minutes: each.window for each in await ask(queries.newest)}
    if not newest:
        return None
    length = minutes if minutes in newest else min(newest)
    start = at or newest[length].start
    day = LocalDay.of(start, time_zone)
    starts = day.starts(length)
    if start not in starts:  # of another length, or of a day that is not the one of its first moment
        start = max((each for each in starts if each <= start), default=starts[0])
    span = await ask(queries.span, length)
    first, last = span or (start, start)
    of_day = (length, day.since, day.until)
    return Look(
        lengths=[*newest],
        minutes=length,
        at=start,
        day=day,
        starts=starts,
        first=first,
        last=last,
        zones=await ask(queries.zones, length, start),
        windows=await (ask(queries.city, *of_day) if zone is None else ask(queries.zone, zone, *of_day)),
        scale=await ask(queries.scale, *of_day, fresh=_SCALE_FRESH),
        flows=[] if zone is None else await ask(queries.flows, zone, start, fresh=_FLOWS_FRESH),
    )
