"""No wait for Postgres or one of its clients is unlimited."""

from __future__ import annotations

import random
import socket
import threading
import time
from datetime import timedelta

import psycopg
import pytest

from chillflow.connectors import postgres
from chillflow.connectors.postgres import PostgresDatabase
from chillflow.errors import DatabaseError, DatabaseUnavailableError
from chillflow.model.codec import CompleteTripStruct
from chillflow.model.table_rows import COMPLETE_TRIP, TABLES, ZONE_WINDOW, Row, Table, to_table_row, window_row
from tests.integration.test_window_tables import window
from tests.pipelines.command import elapsed
from tests.pipelines.pipeline import Changes, Pipeline
from tests.unit.vocabulary import trip

WAIT = timedelta(seconds=10)
ROUNDS = 40


def rows(revision: int) -> dict[Table, list[Row]]:
    """Rows of the same trips and windows, at this revision."""
    keys = [f"{number:04d}" for number in range(500)]
    return {
        COMPLETE_TRIP: [
            to_table_row(CompleteTripStruct(**trip(trip_key=key, revision=revision).model_dump()), "stream")
            for key in keys
        ],
        ZONE_WINDOW: [window_row(window(zone, changes=revision)) for zone in range(200)],
    }


@pytest.mark.postgres
def test_two_writers_of_the_same_rows_never_deadlock(database_url: str) -> None:
    database = PostgresDatabase(database_url, WAIT)
    database.migrate()
    database.close()
    failed: list[Exception] = []

    def write(seed: int) -> None:
        order, mine = random.Random(seed), PostgresDatabase(database_url, WAIT)
        for number in range(ROUNDS):
            shuffled = rows(2 * number + seed + 1)
            for each in shuffled.values():
                order.shuffle(each)
            tables = order.sample(sorted(shuffled, key=TABLES.index), len(shuffled))
            try:
                mine.upsert({table: shuffled[table] for table in tables})
            except DatabaseError as error:
                failed.append(error)
        mine.close()

    writers = [threading.Thread(target=write, args=[seed]) for seed in range(2)]
    for each in writers:
        each.start()
    for each in writers:
        each.join(120)

    assert failed == []
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select distinct revision from stg.complete_trip").fetchall() == [(2 * ROUNDS,)]
        assert connection.execute("select distinct changes from mart.zone_window").fetchall() == [(2 * ROUNDS,)]
        ((deadlocks,),) = connection.execute(
            "select deadlocks from pg_stat_database where datname = current_database()"
        ).fetchall()
    assert deadlocks == 0


@pytest.mark.postgres
def test_a_statement_has_a_timeout(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert timedelta(seconds=30) < postgres._STATEMENT_TIMEOUT < timedelta(minutes=5)
    monkeypatch.setattr(postgres, "_STATEMENT_TIMEOUT", timedelta(seconds=1))
    database = PostgresDatabase(database_url, WAIT)
    database.migrate()
    database.upsert(rows(1))
    with psycopg.connect(database_url) as other:
        other.execute("lock table stg.complete_trip")

        def write() -> None:
            with pytest.raises(DatabaseError, match="canceling statement due to statement timeout"):
                database.upsert(rows(2))

        assert 0.9 < elapsed(write) < 10
    database.upsert(rows(2))  # the connection is still usable
    database.close()


@pytest.mark.postgres
def test_a_suspended_writer_blocks_no_other(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert timedelta(seconds=5) < postgres._IDLE_TIMEOUT < postgres._STATEMENT_TIMEOUT / 2
    monkeypatch.setattr(postgres, "_IDLE_TIMEOUT", timedelta(seconds=1))
    suspended, other = PostgresDatabase(database_url, WAIT), PostgresDatabase(database_url, WAIT)
    suspended.migrate()
    suspended.upsert(rows(1))
    suspended._connected().execute("update stg.complete_trip set revision = 1")

    assert 0.5 < elapsed(lambda: other.upsert(rows(2))) < 10
    suspended.upsert(rows(3))  # resumed: it opens a new connection
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select distinct revision from stg.complete_trip").fetchall() == [(3,)]
    other.close()
    suspended.close()


@pytest.mark.postgres
def test_a_slow_replay_keeps_its_connection(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_IDLE_TIMEOUT", timedelta(seconds=1))
    monkeypatch.setattr(postgres, "READ_ROWS", 100)
    database = PostgresDatabase(database_url, WAIT)
    database.migrate()
    database.upsert(rows(1))
    batches = database.trips(trip_key=None, since=None, until=None, limit=None)
    assert len(next(batches)) == 100
    time.sleep(2)

    assert [len(batch) for batch in batches] == [100] * 4
    database._connected().execute("select 1")  # the connection is still there
    database.close()


def test_a_server_that_does_not_answer_is_a_timeout(embedded: Pipeline) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me:secret@127.0.0.1:{silent.getsockname()[1]}/trips"
        with pytest.raises(DatabaseUnavailableError, match="timeout"):
            PostgresDatabase(url, timedelta(seconds=2)).check()
        changes: Changes = {"DATABASE_URL": url, "CHILLFLOW_KAFKA_TIMEOUT": "2"}
        errors: list[str] = []
        assert elapsed(lambda: errors.append(embedded.fail("init-db", **changes))) < 12

    assert errors[0].startswith("no Postgres answers: ")
    assert "secret" not in errors[0]
