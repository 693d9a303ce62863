"""Queries of the city page: a statement and a function each. All use an index.

Each function takes the reader and then hashable values, so viewers can share a result: see `shared_queries`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from chillflow.connectors.database import Reader, Statement, Values
from chillflow.dashboard.window_sums import SummedWindow, Sums, ZoneSums

__all__ = ["TOP_ZONES", "Flow", "Scale", "city", "flows", "newest", "scale", "span", "zone", "zones"]

TOP_ZONES = 8
"""Maximum number of zones in a list."""
_WINDOW = "window_start, trips, total_amount, tip_amount, timed_trips, card_trips, distance_m, duration_s, final"
_NEWEST: Statement = "select window_minutes, window_start from mart.city_now order by window_minutes"
_SPAN: Statement = """
    select (select min(window_start) from mart.zone_window where window_minutes = %(minutes)s),
           (select max(window_start) from mart.zone_window where window_minutes = %(minutes)s)
"""
_ZONES: Statement = f"""
    select pu_zone_id, {_WINDOW} from mart.zone_window
    where window_minutes = %(minutes)s and window_start = %(start)s and trips > 0
    order by trips desc, pu_zone_id
"""  # noqa: S608 - our own names
_CITY: Statement = f"""
    select window_minutes, {_WINDOW} from mart.city_window
    where window_minutes = %(minutes)s and window_start >= %(since)s and window_start < %(until)s and trips > 0
    order by window_start
"""  # noqa: S608 - our own names
_ZONE: Statement = f"""
    select pu_zone_id, {_WINDOW} from mart.zone_window
    where pu_zone_id = %(zone)s and window_minutes = %(minutes)s
      and window_start >= %(since)s and window_start < %(until)s and trips > 0
    order by window_start
"""  # noqa: S608 - our own names
_SCALE: Statement = """
    select coalesce(max(trips), 0), coalesce(max(total_amount), 0), coalesce(max(tip_amount), 0) from mart.zone_window
    where window_minutes = %(minutes)s and window_start >= %(since)s and window_start < %(until)s
"""
_FLOWS: Statement = """
    select do_zone_id, trips, mean_duration_min from mart.zone_flow
    where hour = %(hour)s and pu_zone_id = %(zone)s
    order by trips desc, do_zone_id limit %(most)s
"""


class Scale(NamedTuple):
    """Maxima over the zones and windows of a day: the ends of the colour scales."""

    trips: int
    revenue: float
    tips: float


class Flow(NamedTuple):
    """Trips from the selected zone to another."""

    zone_id: int
    trips: int
    mean_minutes: float | None


class _NewestRow(NamedTuple):
    minutes: int
    start: datetime


class _SpanRow(NamedTuple):
    first: datetime | None
    last: datetime | None


class _WindowRow(NamedTuple):
    """A row with the columns of `_WINDOW`."""

    group: int
    """Zone or minutes."""
    start: datetime
    trips: int
    revenue: float
    tips: float
    timed_trips: int
    card_trips: int
    distance_m: int
    duration_s: int
    final: bool

    @property
    def sums(self) -> Sums:
        return Sums(*self[2:-1])

    @property
    def summed(self) -> SummedWindow:
        return SummedWindow(self.start, self.sums, self.final)


def newest(reader: Reader) -> dict[int, datetime]:
    """Start of the newest window by length in minutes, the shortest first; empty without trips."""
    return {row.minutes: row.start for row in reader.rows(_NEWEST, {}, _NewestRow)}


def span(reader: Reader, minutes: int) -> tuple[datetime, datetime] | None:
    """Starts of the first and the last window of this length; None without any."""
    (span,) = reader.rows(_SPAN, {"minutes": minutes}, _SpanRow)
    return None if span.first is None or span.last is None else (span.first, span.last)


def zones(reader: Reader, minutes: int, start: datetime) -> list[ZoneSums]:
    """The zones of a window, most trips first."""
    found = reader.rows(_ZONES, {"minutes": minutes, "start": start}, _WindowRow)
    return [ZoneSums(row.group, row.sums, row.final) for row in found]


def city(reader: Reader, minutes: int, since: datetime, until: datetime) -> list[SummedWindow]:
    """The windows of the city in a time span."""
    values: Values = {"minutes": minutes, "since": since, "until": until}
    return [row.summed for row in reader.rows(_CITY, values, _WindowRow)]


def zone(reader: Reader, number: int, minutes: int, since: datetime, until: datetime) -> list[SummedWindow]:
    """The windows of a zone in a time span."""
    values: Values = {"zone": number, "minutes": minutes, "since": since, "until": until}
    return [row.summed for row in reader.rows(_ZONE, values, _WindowRow)]


def scale(reader: Reader, minutes: int, since: datetime, until: datetime) -> Scale:
    """Maxima in a time span."""
    (found,) = reader.rows(_SCALE, {"minutes": minutes, "since": since, "until": until}, Scale)
    return found


def flows(reader: Reader, number: int, time: datetime) -> list[Flow]:
    """Destinations of the trips of a zone that ended in the hour around `time`, most trips first."""
    hour = time - timedelta(minutes=time.minute, seconds=time.second, microseconds=time.microsecond)
    return reader.rows(_FLOWS, {"hour": hour, "zone": number, "most": TOP_ZONES}, Flow)
