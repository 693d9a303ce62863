"""Queries of the pages: read-only, fast on tables of any size, and shared by all viewers."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import psycopg
import pytest
from playwright.sync_api import Page, expect

from chillflow.connectors import open_database, open_reader
from chillflow.connectors.database import Reader, Statement, Values
from chillflow.dashboard import queries
from chillflow.dashboard.days import LocalDay
from chillflow.dashboard.shared_queries import SharedQueries
from chillflow.errors import DatabaseError, MissingTableError
from chillflow.settings import load
from tests.dashboard.browsing import open_dashboard
from tests.pipelines.pipeline import Pipeline

T = TypeVar("T")
NEW_YORK = ZoneInfo("America/New_York")
YEAR = datetime(2023, 1, 1, tzinfo=UTC)
EXPLAIN = {"sqlite": "explain query plan", "postgres": "explain"}
READS_ALL = re.compile(r"Seq Scan on zone_window|SCAN (?:mart_)?zone_window(?! USING)")
"""A plan that reads the whole table."""
ZONES = 120
COLUMNS = """
    pu_zone_id, window_start, window_end, window_minutes, trips, timed_trips, card_trips, cash_trips, total_amount,
    fare_amount, tip_amount, distance_m, duration_s, final, changes
"""
FILL = {
    "sqlite": """
        with recursive quarter(n) as (select 0 union all select n + 1 from quarter where n < 96 * {days} - 1),
        zone(z) as (select 1 union all select z + 1 from zone where z < {zones})
        insert into mart_zone_window ({columns})
        select z, strftime('%Y-%m-%dT%H:%M:%S.000000+00:00', 1672531200 + n * {seconds}, 'unixepoch'),
               strftime('%Y-%m-%dT%H:%M:%S.000000+00:00', 1672531200 + (n + 1) * {seconds}, 'unixepoch'),
               {minutes}, 1 + (n * z) % 40, 1, 1, 0, 20.5, 15, 3, 4000, 700, 1, 1
        from quarter cross join zone where n * {minutes} < 1440 * {days}
    """,
    "postgres": """
        insert into mart.zone_window ({columns})
        select z, to_timestamp(1672531200 + n * {seconds}), to_timestamp(1672531200 + (n + 1) * {seconds}),
               {minutes}, 1 + (n * z) % 40, 1, 1, 0, 20.5, 15, 3, 4000, 700, true, 1
        from generate_series(0, 96 * {days} - 1) as n cross join generate_series(1, {zones}) as z
        where n * {minutes} < 1440 * {days}
    """,
}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of empty tables, on either database."""
    where = f"sqlite:///{tmp_path / 'trips.sqlite'}"
    address: str = where if request.param == "sqlite" else request.getfixturevalue("database_url")
    database = open_database(load(database_url=address))
    database.migrate()
    database.close()
    return address


def run(url: str, statement: str) -> None:
    """Run a statement that writes."""
    if url.startswith("sqlite"):
        import sqlite3

        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.execute(statement)
        connection.close()
    else:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(statement.encode())


@pytest.fixture
def reader(url: str) -> Iterator[Reader]:
    """A read-only session on the tables."""
    reader = open_reader(load(database_url=url))
    yield reader
    reader.close()


class Explaining:
    """A reader that collects the plans of its statements."""

    def __init__(self, reader: Reader, explain: str) -> None:
        self._reader = reader
        self._explain = explain
        self.plans: list[str] = []

    def rows(self, statement: Statement, values: Values, kind: type[T]) -> list[T]:
        plan = self._reader.rows(f"{self._explain} {statement}", values, tuple)
        self.plans.append("\n".join(str(line[-1]) for line in plan))
        return self._reader.rows(statement, values, kind)

    def close(self) -> None:
        self._reader.close()


@pytest.mark.parametrize("days", [40, pytest.param(365, marks=pytest.mark.long)])
def test_old_windows_are_found_by_index(url: str, reader: Reader, days: int) -> None:
    """A page reads only the rows it shows, however large the table; prints the time for a year of windows."""
    kind = "sqlite" if url.startswith("sqlite") else "postgres"
    for minutes in (15, 60):
        run(url, FILL[kind].format(minutes=minutes, seconds=60 * minutes, zones=ZONES, columns=COLUMNS, days=days))
    if kind == "postgres":
        run(url, "vacuum analyze mart.zone_window")
    day = LocalDay.of(datetime(2023, 1, 24, 12, tzinfo=UTC), NEW_YORK)
    span = (day.since, day.until)
    explaining = Explaining(reader, EXPLAIN[kind])

    def page(at: datetime, reader: Reader = reader) -> list[Sequence[object]]:
        """Results of all queries of a page."""
        return [
            [*queries.newest(reader)],
            queries.span(reader, 15) or (),
            queries.zones(reader, 15, at),
            queries.city(reader, 15, *span),
            queries.zone(reader, 42, 15, *span),
            queries.scale(reader, 15, *span),
            queries.flows(reader, 42, at),
        ]

    first = page(day.since, explaining)
    assert first[1] == (YEAR, YEAR + timedelta(days=days) - timedelta(minutes=15))
    assert [len(each) for each in first[2:5]] == [ZONES, 96, 96]
    seconds = []
    for start in day.starts(15)[:20]:
        began = time.perf_counter()
        page(start)
        seconds.append(time.perf_counter() - began)
    print(
        f"{kind}: a page of a year of windows in {1000 * sorted(seconds)[10]:.1f} ms, worst {1000 * max(seconds):.1f}"
    )
    assert len(explaining.plans) >= len(first)
    assert [plan for plan in explaining.plans if READS_ALL.search(plan)] == []


def test_it_cannot_write(url: str, reader: Reader) -> None:
    with pytest.raises(DatabaseError, match=r"read.?only"):
        reader.rows("delete from mart.zone_window returning 1", {}, tuple)
    assert reader.rows("select count(*) from mart.zone_window", {}, tuple) == [(0,)]


def test_values_are_never_sql(reader: Reader) -> None:
    evil = "x' or '1'='1"
    assert reader.rows("select %(key)s", {"key": evil}, tuple) == [(evil,)]


def test_a_missing_file_is_reported_and_not_made(tmp_path: Path) -> None:
    reader = open_reader(load(database_url=f"sqlite:///{tmp_path / 'none.sqlite'}"))
    with pytest.raises(MissingTableError, match="init-db"):
        queries.newest(reader)
    assert not (tmp_path / "none.sqlite").exists()


@pytest.mark.postgres
@pytest.mark.kafka
def test_a_read_only_role_is_enough(on_servers: Pipeline, day_of_trips: Path, page: Page) -> None:
    on_servers.run("init-db")
    on_servers.produce(day_of_trips)
    on_servers.assemble()
    role = f"reader_{urlsplit(on_servers.database).path.strip('/')}"
    try:
        for statement in (
            f"create role {role} login password '{role}'",
            f"alter role {role} set default_transaction_read_only = on",
            f"grant usage on schema stg, mart, dim to {role}",
            f"grant select on all tables in schema stg, mart, dim to {role}",
        ):
            run(on_servers.database, statement)
        parts = urlsplit(on_servers.database)
        url = parts._replace(netloc=f"{role}:{role}@{parts.hostname}:{parts.port}").geturl()
        with open_dashboard(on_servers, page, DATABASE_URL=url) as dashboard:
            dashboard.wait(lambda: dashboard.text("total-trips"))
            ((trips,),) = on_servers.query("select trips from mart.city_now where window_minutes = 15")
            assert dashboard.number("total-trips") == trips
            (key, *_) = on_servers.query("select trip_key from stg.complete_trip limit 1")[0]
            page.goto(f"{dashboard.url}trip?key={key}")
            expect(dashboard.at("where")).to_contain_text("from the trip's first time")
            expect(dashboard.at("problem")).to_have_count(0)
    finally:
        run(on_servers.database, f"drop owned by {role}; drop role {role}")


def in_a_loop(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a coroutine in a thread of its own: the loop of the test thread belongs to the browser."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(work())).result(30)


def test_equal_queries_run_once_until_the_result_is_old() -> None:
    ran = []

    def query(source: str, value: int) -> tuple[str, int]:
        ran.append(value)
        time.sleep(0.05)
        return source, value

    async def work() -> None:
        shared = SharedQueries("source", executor)
        assert await asyncio.gather(*(shared.run(query, 1) for _ in range(10))) == [("source", 1)] * 10
        assert await shared.run(query, 1) == ("source", 1)
        assert ran == [1]
        assert await shared.run(query, 2) == ("source", 2)
        await asyncio.sleep(0.1)
        await shared.run(query, 1, max_age=0.05)
        assert ran == [1, 2, 1]

    with ThreadPoolExecutor(1) as executor:
        in_a_loop(work)


def test_an_error_is_shared_until_it_is_old() -> None:
    answers: list[DatabaseError | str] = [DatabaseError("away"), "back"]

    def query(source: None) -> str:
        answer = answers.pop(0)
        if isinstance(answer, DatabaseError):
            raise answer
        return answer

    async def work() -> None:
        shared = SharedQueries(None, executor)
        for _ in range(3):
            with pytest.raises(DatabaseError, match="away"):
                await shared.run(query)
        await asyncio.sleep(0.1)
        assert await shared.run(query, max_age=0.05) == "back"

    with ThreadPoolExecutor(1) as executor:
        in_a_loop(work)


@pytest.mark.parametrize(
    ("date", "minutes", "count"),
    [
        ("2024-01-15", 15, 96),
        ("2024-03-10", 15, 92),
        ("2024-11-03", 15, 100),
        ("2024-01-15", 60, 24),
        ("2024-01-15", 1440, 1),
    ],
)
def test_a_day_has_the_windows_that_begin_in_it(date: str, minutes: int, count: int) -> None:
    day = LocalDay(datetime.fromisoformat(date).date(), NEW_YORK)
    starts = day.starts(minutes)
    assert len(starts) == count
    assert all(day.since <= start < day.until for start in starts)
    assert {after - before for before, after in pairwise(starts)} <= {timedelta(minutes=minutes)}


def test_a_window_is_named_in_the_time_of_new_york() -> None:
    moment = datetime(2024, 1, 2, 4, 45, tzinfo=UTC)
    assert LocalDay.of(moment, NEW_YORK).title(moment, 15) == "Mon 1 Jan 2024, 23:45–00:00"
