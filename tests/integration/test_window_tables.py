"""The table of windows and its views, alike on SQLite and on Postgres."""

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from chillflow.connectors.database import Database
from chillflow.connectors.postgres import PostgresDatabase
from chillflow.connectors.sqlite import SqliteDatabase
from chillflow.errors import MissingTableError
from chillflow.model.codec import CompleteTripStruct
from chillflow.model.measures import WindowValues, ZoneWindowStruct
from chillflow.model.table_rows import COMPLETE_TRIP, ZONE_WINDOW, Row, to_table_row, window_row
from tests.servers._process import wait_until
from tests.unit.vocabulary import BEGINNING, trip

WAIT = timedelta(seconds=10)
HOUR = timedelta(hours=1)
QUARTER = timedelta(minutes=15)
NEW_YORK = timezone(timedelta(hours=-5))


@dataclass
class Tables:
    """A migrated database, and SQL run on it."""

    database: Database
    address: str

    def write(self, *windows: WindowValues) -> None:
        self.database.upsert({ZONE_WINDOW: [window_row(window) for window in windows]})

    def query(self, statement: str) -> list[Row]:
        """Rows as Python values, alike on both: times as datetimes, sums as floats."""
        if isinstance(self.database, SqliteDatabase):
            with closing(sqlite3.connect(self.address, isolation_level=None)) as connection:
                return _plain(connection.execute(re.sub(r"\b(stg|mart|dim)\.", r"\1_", statement)).fetchall())
        with psycopg.connect(self.address, autocommit=True) as server:
            cursor = server.execute(statement.encode())
            return _plain(cursor.fetchall()) if cursor.description else []

    def changes(self) -> list[Row]:
        return self.query("select pu_zone_id, window_minutes, changes, final from mart.zone_window order by 1, 2, 3")


def _plain(rows: list[Row]) -> list[Row]:
    def value(found: object) -> object:
        if isinstance(found, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT.{21}", found):
            return datetime.fromisoformat(found)
        return float(found) if isinstance(found, Decimal) else found

    return [tuple(map(value, row)) for row in rows]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tables]:
    """SQLite, then Postgres."""
    if request.param == "sqlite":
        path = tmp_path / "windows.sqlite"
        made = Tables(SqliteDatabase(path, WAIT), str(path))
    else:
        url = request.getfixturevalue("database_url")
        made = Tables(PostgresDatabase(url, WAIT), url)
    made.database.migrate()
    yield made
    made.database.close()


def window(zone: int = 132, start: datetime = BEGINNING, minutes: int = 60, **fields: Any) -> WindowValues:
    """A provisional window whose measures are zero, except for these fields."""
    counts = dict.fromkeys(("trips", "timed_trips", "card_trips", "cash_trips", "distance_m", "duration_s"), 0)
    amounts = dict.fromkeys(("total_amount", "fare_amount", "tip_amount"), 0.0)
    return ZoneWindowStruct(
        **{
            "pu_zone_id": zone,
            "zone": None,
            "borough": None,
            "window_start": start,
            "window_end": start + timedelta(minutes=minutes),
            "window_minutes": minutes,
            **counts,
            **amounts,
            "final": False,
            "changes": 1,
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ([(2, False), (1, False)], (2, False)),
        ([(2, False), (1, True)], (2, False)),
        ([(2, False), (2, True)], (2, True)),
        ([(2, True), (2, False)], (2, True)),
        ([(2, True), (3, False)], (3, False)),
        ([(1, False), (2, True), (10, True)], (10, True)),
    ],
)
def test_only_a_newer_window_replaces_a_row(
    tables: Tables, written: list[tuple[int, bool]], kept: tuple[int, bool]
) -> None:
    for changes, final in written:
        tables.write(window(changes=changes, final=final, trips=changes * 10 + final))
    assert tables.query("select changes, final, trips from mart.zone_window") == [(*kept, kept[0] * 10 + kept[1])]


def test_a_window_of_the_same_version_changes_nothing(tables: Tables) -> None:
    tables.write(window(changes=2, trips=2))
    tables.write(window(changes=2, trips=9))
    assert tables.query("select trips from mart.zone_window") == [(2,)]


def test_zone_start_and_length_identify_a_window(tables: Tables) -> None:
    tables.write(window(7), window(8), window(7, minutes=15), window(7, BEGINNING + HOUR, changes=2))
    tables.write(window(8, changes=3))
    assert tables.changes() == [(7, 15, 1, 0), (7, 60, 1, 0), (7, 60, 2, 0), (8, 60, 3, 0)]


def test_windows_are_read_back_as_written(tables: Tables) -> None:
    counts: dict[str, Any] = {
        "trips": 9,
        "timed_trips": 8,
        "card_trips": 5,
        "cash_trips": 3,
        "distance_m": 2**40,
        "duration_s": 2**33,
    }
    tables.write(window(1, total_amount=10**11 + 0.29, fare_amount=-0.07, tip_amount=0.1, **counts))
    assert tables.query(f"select {', '.join(ZONE_WINDOW.columns)} from mart.zone_window") == [
        (1, BEGINNING, 60, BEGINNING + HOUR, 9, 8, 5, 3, 10**11 + 0.29, -0.07, 0.1, 2**40, 2**33, False, 1)
    ]


def test_windows_are_retired_by_their_end(tables: Tables) -> None:
    tables.write(window(1), window(2), window(1, minutes=15), window(1, BEGINNING + HOUR))
    end = BEGINNING + HOUR
    assert tables.database.retire_windows(end - timedelta(microseconds=1)) == 1
    assert tables.database.retire_windows(end.astimezone(NEW_YORK)) == 2
    assert tables.database.retire_windows(end) == 0
    assert tables.query("select pu_zone_id, window_start from mart.zone_window") == [(1, end)]


def test_a_missing_table_of_windows_is_an_error_that_names_init_db(tables: Tables) -> None:
    tables.database.check()
    for view in ("zone_hourly", "city_now", "city_window", "top_zones"):
        tables.query(f"drop view mart.{view}")
    tables.query("drop table mart.zone_window")
    for use in (tables.database.check, lambda: tables.write(window())):
        with pytest.raises(MissingTableError, match="init-db"):
            use()


@pytest.mark.postgres
def test_a_lost_connection_is_reopened(database_url: str) -> None:
    database = PostgresDatabase(database_url, WAIT)
    database.migrate()
    tables = Tables(database, database_url)
    tables.write(window())
    tables.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'chillflow-stream'")
    assert database.retire_windows(BEGINNING + HOUR) == 1
    database.close()


@pytest.mark.postgres
def test_retiring_and_writing_never_deadlock(database_url: str) -> None:
    database = PostgresDatabase(database_url, WAIT)
    database.migrate()
    tables = Tables(database, database_url)
    tables.write(window(2))  # first in the table and in the index of ends, second by key
    tables.write(window(1, BEGINNING + HOUR))
    change = "update mart.zone_window set changes = changes + 1 where pu_zone_id = "
    retired: list[int] = []
    with psycopg.connect(database_url) as writer:
        writer.execute(f"{change} 1".encode())
        retire = threading.Thread(target=lambda: retired.append(database.retire_windows(BEGINNING + 3 * HOUR)))
        retire.start()
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        assert wait_until(lambda: tables.query(waiting) == [(1,)], timeout=20)
        writer.execute(f"{change} 2".encode())
    retire.join()
    database.close()
    assert retired == [2]


def test_zone_hourly_has_zone_names_and_means(tables: Tables) -> None:
    amounts: dict[str, Any] = {"total_amount": 50.0, "fare_amount": 40.0, "tip_amount": 6.0}
    tables.write(
        window(
            132,
            trips=4,
            timed_trips=3,
            card_trips=2,
            cash_trips=1,
            distance_m=9000,
            duration_s=2700,
            **amounts,
            final=True,
        ),
        window(999, trips=1, total_amount=7.5, changes=2),
        window(1, trips=0, changes=3),
        window(132, minutes=15, trips=1),
    )
    columns = (
        "pu_zone_id, zone, borough, window_start, window_end, trips, timed_trips, card_trips, cash_trips,"
        " total_amount, fare_amount, tip_amount, distance_m, duration_s, mean_total_amount, mean_fare_amount,"
        " mean_tip_amount, mean_distance_km, mean_duration_min, avg_speed_kmh, final, changes"
    )
    times = (BEGINNING, BEGINNING + HOUR)
    measures = (4, 3, 2, 1, 50.0, 40.0, 6.0, 9000, 2700)
    assert tables.query(f"select {columns} from mart.zone_hourly order by pu_zone_id") == [
        (1, "Newark Airport", "EWR", *times, 0, 0, 0, 0, 0, 0, 0, 0, 0, None, None, None, None, None, None, False, 3),
        (132, "JFK Airport", "Queens", *times, *measures, 12.5, 10.0, 1.5, 3.0, 15.0, 12.0, True, 1),
        (999, None, None, *times, 1, 0, 0, 0, 7.5, 0, 0, 0, 0, 7.5, 0.0, 0.0, None, None, None, False, 2),
    ]
    ((dated,),) = tables.query("select count(updated_at) from mart.zone_hourly")
    assert dated == 3


CITY = (
    "window_minutes, window_start, window_end, trips, timed_trips, card_trips, cash_trips, total_amount, fare_amount,"
    " tip_amount, distance_m, duration_s, zones, mean_total_amount, avg_speed_kmh, final"
)


def test_city_window_sums_the_zones(tables: Tables) -> None:
    timed: dict[str, Any] = {"timed_trips": 2, "card_trips": 1, "cash_trips": 1, "fare_amount": 0.7, "tip_amount": 0.1}
    tables.write(
        window(1, trips=2, total_amount=0.1, distance_m=5000, duration_s=600, final=True, **timed),
        window(2, trips=4, total_amount=0.2, distance_m=1000, duration_s=120, **timed),
        window(3, trips=0, final=True),
        window(1, BEGINNING + HOUR, trips=0, final=True),
        window(1, minutes=15, trips=1, total_amount=3.0, final=True),
        window(2, minutes=15, trips=1, total_amount=4.0, final=True),
    )
    sums = (6, 4, 2, 2, 0.3, 1.4, 0.2, 6000, 720)
    nothing = (0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert tables.query(f"select {CITY} from mart.city_window order by window_minutes, window_start") == [
        (15, BEGINNING, BEGINNING + QUARTER, 2, 0, 0, 0, 7.0, 0, 0, 0, 0, 2, 3.5, None, True),
        (60, BEGINNING, BEGINNING + HOUR, *sums, 2, pytest.approx(0.05), pytest.approx(30.0), False),
        (60, BEGINNING + HOUR, BEGINNING + 2 * HOUR, *nothing, 0, None, None, True),
    ]
    ((dated, newest),) = tables.query("select count(updated_at), max(updated_at) is not null from mart.city_window")
    assert (dated, newest) == (3, True)


def test_city_now_is_the_latest_window_with_twenty_trips_from_it_on(tables: Tables) -> None:
    """A few trips with wrong dates must not move it."""

    def now() -> list[Row]:
        return tables.query("select window_minutes, window_start, trips, zones from mart.city_now order by 1")

    ahead = datetime(2099, 1, 1, tzinfo=UTC)
    assert now() == []
    tables.write(window(1, ahead, trips=1), window(2, ahead, trips=0), window(3, BEGINNING, trips=18))
    assert now() == []
    tables.write(window(4, BEGINNING, trips=1))
    assert now() == [(60, BEGINNING, 19, 2)]

    tables.write(*(window(zone, BEGINNING - HOUR, trips=5) for zone in range(30)))
    assert now() == [(60, BEGINNING, 19, 2)]
    later = BEGINNING + HOUR
    tables.write(*(window(zone, later, trips=1) for zone in range(18)))
    assert now() == [(60, BEGINNING, 19, 2)]
    tables.write(window(200, later, trips=1))
    assert now() == [(60, later, 19, 19)]

    tables.write(*(window(zone, ahead, minutes=15, trips=1) for zone in range(19)))
    assert now() == [(60, later, 19, 19)]
    tables.write(*(window(zone, BEGINNING, minutes=15, trips=1) for zone in range(100)))
    assert now() == [(15, BEGINNING, 100, 100), (60, later, 19, 19)]
    tables.write(window(1, ahead, minutes=1440, trips=20))
    assert now() == [(15, BEGINNING, 100, 100), (60, later, 19, 19), (1440, ahead, 20, 1)]

    rows = f"select {CITY}, updated_at from mart"
    current = [row[:2] for row in now()]
    city = [row for row in tables.query(f"{rows}.city_window order by 1") if row[:2] in current]
    assert tables.query(f"{rows}.city_now order by 1") == city


def test_top_zones_are_ranked_by_trips(tables: Tables) -> None:
    tables.write(
        *(window(zone, trips=zone % 6, total_amount=zone + 0.5) for zone in range(1, 16)),
        window(999, trips=100),
        window(1, BEGINNING + HOUR, trips=1),
        window(1, minutes=15, trips=2),
        window(3, minutes=15, trips=2),
        window(4, minutes=15, trips=0),
    )
    top = "select rank, pu_zone_id, trips from mart.top_zones where window_start = '2024-01-01T12:00:00.000000+00:00'"
    assert tables.query(f"{top} and window_minutes = 60 order by rank") == [
        (1, 999, 100),
        (2, 5, 5),
        (3, 11, 5),
        (4, 4, 4),
        (5, 10, 4),
        (6, 3, 3),
        (7, 9, 3),
        (8, 15, 3),
        (9, 2, 2),
        (10, 8, 2),
    ]
    assert tables.query(f"{top} and window_minutes = 15 order by rank") == [(1, 1, 2), (2, 3, 2)]
    named = "select window_minutes, window_start, window_end, zone, borough, total_amount from mart.top_zones"
    assert tables.query(f"{named} where pu_zone_id in (5, 999) order by rank") == [
        (60, BEGINNING, BEGINNING + HOUR, None, None, 0),
        (60, BEGINNING, BEGINNING + HOUR, "Arden Heights", "Staten Island", 5.5),
    ]


def test_zone_flow_groups_trips_by_the_hour_of_their_drop_off(tables: Tables) -> None:
    trips = [
        (132, 1, timedelta(minutes=10), 10.1),
        (132, 1, timedelta(minutes=59, seconds=59, microseconds=999_999), 10.2),
        (132, 1, timedelta(hours=1), 5.0),
        (132, 999, timedelta(minutes=20), None),
        (1, 132, timedelta(minutes=-5), 8.0),  # drop-off before pickup: no duration
    ]
    rows = []
    for number, (pickup, dropoff, after, amount) in enumerate(trips):
        made = trip(
            trip_key=str(number),
            pu_zone_id=pickup,
            do_zone_id=dropoff,
            total_amount=amount,
            dropoff_ts=BEGINNING + after,
            duration_min=after / timedelta(minutes=1) if after > timedelta(0) else None,
        )
        rows.append(to_table_row(CompleteTripStruct(**made.model_dump()), "stream"))
    tables.database.upsert({COMPLETE_TRIP: rows})

    flow = (
        "select hour, pu_zone_id, pickup_zone, do_zone_id, dropoff_zone, trips, total_amount, mean_duration_min"
        " from mart.zone_flow"
    )
    of_noon = [
        (BEGINNING, 132, "JFK Airport", 1, "Newark Airport", 2, 20.3, pytest.approx(35.0)),
        (BEGINNING, 132, "JFK Airport", 999, None, 1, None, 20.0),
    ]
    assert tables.query(f"{flow} order by hour, do_zone_id") == [
        (BEGINNING - HOUR, 1, "Newark Airport", 132, "JFK Airport", 1, 8.0, None),
        *of_noon,
        (BEGINNING + HOUR, 132, "JFK Airport", 1, "Newark Airport", 1, 5.0, 60.0),
    ]
    noon = f"{BEGINNING:%Y-%m-%dT%H:%M:%S.000000+00:00}"
    assert tables.query(f"{flow} where hour = '{noon}' order by do_zone_id") == of_noon


SOME_WINDOWS = """
    insert into mart.zone_window (
        pu_zone_id, window_start, window_minutes, window_end, trips, timed_trips, card_trips, cash_trips,
        total_amount, fare_amount, tip_amount, distance_m, duration_s, final, changes
    )
    select
        zone, start, minutes, start + minutes * interval '1 minute', 1 + zone % 40, 1, 1, 0,
        20.5, 15.25, 2.1, 3000, 900, start < '2024-01-16T00:00Z', 1
    from (values (15), (60)) as length (minutes),
        generate_series(1, 265) as zone,
        generate_series(
            timestamptz '2024-01-01T00:00Z', timestamptz '2024-01-16T23:59Z', minutes * interval '1 minute'
        ) as start
"""
"""508,800 rows: 16 days."""
QUERIES = {
    "a day of the city": "select * from mart.city_window where window_minutes = 60"
    " and window_start >= '2024-01-09T00:00Z' and window_start < '2024-01-10T00:00Z'",
    "a week of a zone": "select * from mart.zone_hourly where pu_zone_id = 132"
    " and window_start >= '2024-01-05T00:00Z' and window_start < '2024-01-12T00:00Z'",
    "the city now": "select * from mart.city_now",
    "the top of a window": "select * from mart.top_zones"
    " where window_minutes = 15 and window_start = '2024-01-09T12:00Z'",
    "the top now": "select * from mart.top_zones where window_minutes = 15"
    " and window_start = (select window_start from mart.city_now where window_minutes = 15)",
    "what is open": "select count(*), min(window_end) from mart.zone_window where not final",
    "retirement": "delete from mart.zone_window where window_end <= '2024-01-02T00:00Z'",
}


@pytest.mark.postgres
def test_queries_on_half_a_million_windows_use_the_indexes(database_url: str) -> None:
    database = PostgresDatabase(database_url, WAIT)
    database.migrate()
    database.close()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(SOME_WINDOWS)
        connection.execute("analyze mart.zone_window")
        for name, query in QUERIES.items():
            (([explained],),) = connection.execute(f"explain (format json) {query}".encode()).fetchall()
            plan = explained["Plan"]
            scans = {node["Node Type"] for node in _nodes(plan) if node.get("Relation Name") == "zone_window"}
            assert "Seq Scan" not in scans, name
            assert any("Index" in scan or "Bitmap" in scan for scan in scans), name
            # from this cost on Postgres compiles the query (JIT), which takes longer than running it
            assert plan["Total Cost"] < 100_000, name


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
