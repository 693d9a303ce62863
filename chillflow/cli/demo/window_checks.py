"""The demo's windows, compared with windows that SQL recomputes from the trips."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from chillflow.cli.demo.demo_checks import Check

__all__ = ["Windows", "read_windows"]

_STORED = """
    select pu_zone_id, window_start as start, window_minutes as minutes, trips, timed_trips, card_trips, cash_trips,
           cast(round(total_amount * 100) as integer) as total_cents,
           cast(round(fare_amount * 100) as integer) as fare_cents,
           cast(round(tip_amount * 100) as integer) as tip_cents, distance_m, duration_s
    from mart_zone_window where trips > 0
"""
_RECOMPUTED = """
    select pu_zone_id,
           strftime('%Y-%m-%dT%H:%M:%S.000000+00:00', second / (60 * minutes) * (60 * minutes), 'unixepoch') as start,
           minutes, count(*) as trips, count(duration_min) as timed_trips, sum(payment_type is 1) as card_trips,
           sum(payment_type is 2) as cash_trips, sum(cast(round(coalesce(total_amount, 0) * 100) as integer)),
           sum(cast(round(coalesce(fare_amount, 0) * 100) as integer)),
           sum(cast(round(coalesce(tip_amount, 0) * 100) as integer)),
           sum(case when duration_min is null then 0 else cast(round(coalesce(distance_km, 0) * 1000) as integer) end),
           sum(cast(round(coalesce(duration_min, 0) * 60) as integer))
    from (select *, cast(strftime('%s', dropoff_ts) as integer) as second from stg_complete_trip
          where coalesce(distance_km, 0) < 1000000)
    cross join (select distinct window_minutes as minutes from mart_zone_window)
    group by pu_zone_id, minutes, second / (60 * minutes)
"""
_BUSIEST = """
    select coalesce(zone, 'zone ' || pu_zone_id), sum(trips)
    from mart_zone_window left join dim_zone on zone_id = pu_zone_id
    where window_minutes = 60 group by pu_zone_id order by 2 desc, 1 limit 5
"""
_HOURS = "select window_start, sum(trips) from mart_zone_window where window_minutes = 60 group by 1"


class Windows(NamedTuple):
    """The windows of a run."""

    counts: dict[int, int]
    """Number of windows in the table, by length in minutes."""
    recomputed: int
    """Number of windows recomputed from the table of complete trips."""
    different: int
    """Number of windows that differ between the two, or are in only one."""
    provisional: int
    """Number of windows that are not final."""
    busiest: list[tuple[str, int]]
    """The zones with the most trips, and their trips."""
    day: list[int]
    """Trips by the hour of the day in which they ended."""

    @property
    def checks(self) -> list[Check]:
        """The windows recomputed, and those in the table."""
        return [
            Check("windows recomputed, in table", self.recomputed, sum(self.counts.values())),
            Check("windows with other measures", 0, self.different),
            Check("windows that are not final", 0, self.provisional),
        ]


def read_windows(file: Path, time_zone: str) -> Windows:
    """Read the windows of an SQLite file, and recompute them."""
    with closing(sqlite3.connect(file)) as connection:
        stored = connection.execute(_STORED).fetchall()
        recomputed = connection.execute(_RECOMPUTED).fetchall()
        ((provisional,),) = connection.execute("select count(*) from mart_zone_window where not final")
        return Windows(
            counts=dict(sorted(Counter(minutes for _, _, minutes, *_ in stored).items())),
            recomputed=len(recomputed),
            different=len({window[:3] for window in {*stored} ^ {*recomputed}}),
            provisional=provisional,
            busiest=connection.execute(_BUSIEST).fetchall(),
            day=_day(connection.execute(_HOURS).fetchall(), ZoneInfo(time_zone)),
        )


def _day(hours: list[tuple[str, int]], zone: ZoneInfo) -> list[int]:
    trips = Counter[int]()
    for start, count in hours:
        trips[datetime.fromisoformat(start).astimezone(zone).hour] += count
    return [trips[hour] for hour in range(24)]
