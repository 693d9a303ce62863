"""What the pages ask of the tables: a statement and a function each. All are found by an index, however old the table.

Each takes the reader first and then values that can be compared, so that several viewers can share an answer.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from chillflow.dashboard.database import Reader, Row, Statement
from chillflow.dashboard.window_sums import SummedWindow, Sums, ZoneSums

__all__ = ["MOST", "Flow", "Newest", "Scale", "city", "flows", "newest", "scale", "span", "zone", "zones"]

MOST = 8
"""Zones in a list."""
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
    """The window that the city is in, of one length."""

    minutes: int
    window: SummedWindow


class Scale(NamedTuple):
    """The most that one zone had in a window of a day."""

    trips: int
    revenue: float
    tips: float


class Flow(NamedTuple):
    """Trips to a zone."""

    zone_id: int
    trips: int
    revenue: float
    mean_minutes: float | None


def newest(reader: Reader) -> list[Newest]:
    """The window that the city is in, of each length, the shortest first; none where there are no trips."""
    return [Newest(int(minutes), _window(row)) for minutes, *row in reader.rows(_NEWEST, {})]


def span(reader: Reader, minutes: int) -> tuple[datetime, datetime] | None:
    """The first and the last window of this length; None where there is none."""
    ((first, last),) = reader.rows(_SPAN, {"minutes": minutes})
    return None if first is None else (first, last)


def zones(reader: Reader, minutes: int, start: datetime) -> list[ZoneSums]:
    """The zones of a window, those with the most trips first."""
    found = reader.rows(_ZONES, {"minutes": minutes, "start": start})
    return [ZoneSums(row[0], _sums(row[1:-1]), bool(row[-1])) for row in found]


def city(reader: Reader, minutes: int, since: datetime, until: datetime) -> list[SummedWindow]:
    """The city's windows in a span of time."""
    return [*map(_window, reader.rows(_CITY, {"minutes": minutes, "since": since, "until": until}))]


def zone(reader: Reader, number: int, minutes: int, since: datetime, until: datetime) -> list[SummedWindow]:
    """A zone's windows in a span of time."""
    values = {"zone": number, "minutes": minutes, "since": since, "until": until}
    return [*map(_window, reader.rows(_ZONE, values))]


def scale(reader: Reader, minutes: int, since: datetime, until: datetime) -> Scale:
    """What the colours of a span of time must reach."""
    (row,) = reader.rows(_SCALE, {"minutes": minutes, "since": since, "until": until})
    return Scale(*row)


def flows(reader: Reader, number: int, time: datetime) -> list[Flow]:
    """Where the trips of a zone went that ended in the hour of this time, the most first."""
    hour = time - timedelta(minutes=time.minute, seconds=time.second, microseconds=time.microsecond)
    return [Flow(*row) for row in reader.rows(_FLOWS, {"hour": hour, "zone": number, "most": MOST})]


def _window(row: Any) -> SummedWindow:
    start, *sums, final = row
    return SummedWindow(start, _sums(sums), bool(final))


def _sums(values: list[Any] | Row) -> Sums:
    trips, revenue, tips, *others = values
    return Sums(int(trips), float(revenue), float(tips), *map(int, others))
