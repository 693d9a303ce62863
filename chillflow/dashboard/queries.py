"""Queries of the city page: a statement and a function each. All use an index, however large the table.

Each function takes the reader and then hashable values, so viewers can share a result: see `shared_queries`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from chillflow.connectors.database import Reader, Statement, Values
from chillflow.dashboard.window_sums import SummedWindow, Sums, ZoneSums
from chillflow.model.table_rows import Row

__all__ = ["TOP_ZONES", "Flow", "Newest", "Scale", "city", "flows", "newest", "scale", "span", "zone", "zones"]

TOP_ZONES = 8
"""Zones in a list, at most."""
_SUMS = "trips, total_amount, tip_amount, timed_trips, card_trips, distance_m, duration_s"
_NEWEST: Statement = f"select window_minutes, window_start, {_SUMS}, final from mart.city_now order by window_minutes"  # noqa: S608 - our own names
_SPAN: Statement = """
    select (select min(window_start) from mart.zone_window where window_minutes = %(minutes)s),
           (select max(window_start) from mart.zone_window where window_minutes = %(minutes)s)
"""
_ZONES: Statement = f"""
    select pu_zone_id, {_SUMS}, final from mart.zone_window
    where window_minutes = %(minutes)s and window_start = %(start)s and trips > 0
    order by trips desc, pu_zone_id
"""  # noqa: S608 - our own names
_CITY: Statement = f"""
    select window_start, {_SUMS}, final from mart.city_window
    where window_minutes = %(minutes)s and window_start >= %(since)s and window_start < %(until)s and trips > 0
    order by window_start
"""  # noqa: S608 - our own names
_ZONE: Statement = f"""
    select window_start, {_SUMS}, final from mart.zone_window
    where pu_zone_id = %(zone)s and window_minutes = %(minutes)s
      and window_start >= %(since)s and window_start < %(until)s and trips > 0
    order by window_start
"""  # noqa: S608 - our own names
_SCALE: Statement = """
    select coalesce(max(trips), 0), coalesce(max(total_amount), 0), coalesce(max(tip_amount), 0) from mart.zone_window
    where window_minutes = %(minutes)s and window_start >= %(since)s and window_start < %(until)s
"""
_FLOWS: Statement = """
    select do_zone_id, trips, total_amount, mean_duration_min from mart.zone_flow
    where hour = %(hour)s and pu_zone_id = %(zone)s
    order by trips desc, do_zone_id limit %(most)s
"""


class Newest(NamedTuple):
    """The newest window of one length."""

    minutes: int
    window: SummedWindow


class Scale(NamedTuple):
    """Maxima over the zones and windows of a day: the ends of the colour scales."""

    trips: int
    revenue: float
    tips: float


class Flow(NamedTuple):
    """Trips from the selected zone to another."""

    zone_id: int
    trips: int
    revenue: float
    mean_minutes: float | None


def newest(reader: Reader) -> list[Newest]:
    """The newest window of each length, the shortest first; empty without trips."""
    return [Newest(int(row[0]), _window(row[1:])) for row in reader.rows(_NEWEST, {})]


def span(reader: Reader, minutes: int) -> tuple[datetime, datetime] | None:
    """Starts of the first and the last window of this length; None without any."""
    ((first, last),) = reader.rows(_SPAN, {"minutes": minutes})
    return None if first is None else (first, last)


def zones(reader: Reader, minutes: int, start: datetime) -> list[ZoneSums]:
    """The zones of a window, most trips first."""
    found = reader.rows(_ZONES, {"minutes": minutes, "start": start})
    return [ZoneSums(row[0], _sums(row[1:-1]), bool(row[-1])) for row in found]


def city(reader: Reader, minutes: int, since: datetime, until: datetime) -> list[SummedWindow]:
    """The windows of the city in a time span."""
    return [*map(_window, reader.rows(_CITY, {"minutes": minutes, "since": since, "until": until}))]


def zone(reader: Reader, number: int, minutes: int, since: datetime, until: datetime) -> list[SummedWindow]:
    """The windows of a zone in a time span."""
    values: Values = {"zone": number, "minutes": minutes, "since": since, "until": until}
    return [*map(_window, reader.rows(_ZONE, values))]


def scale(reader: Reader, minutes: int, since: datetime, until: datetime) -> Scale:
    """Maxima in a time span."""
    (row,) = reader.rows(_SCALE, {"minutes": minutes, "since": since, "until": until})
    return Scale(*row)


def flows(reader: Reader, number: int, time: datetime) -> list[Flow]:
    """Destinations of the trips of a zone that ended in the hour around `time`, most trips first."""
    hour = time - timedelta(minutes=time.minute, seconds=time.second, microseconds=time.microsecond)
    return [Flow(*row) for row in reader.rows(_FLOWS, {"hour": hour, "zone": number, "most": TOP_ZONES})]


def _window(row: Row) -> SummedWindow:
    return SummedWindow(row[0], _sums(row[1:-1]), bool(row[-1]))


def _sums(row: Row) -> Sums:
    trips, revenue, tips, *others = row
    return Sums(int(trips), float(revenue), float(tips), *map(int, others))
