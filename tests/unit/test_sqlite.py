"""SQLite: migrated once, guarded by revision, read back as written."""

import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from chillflow.connectors import sqlite
from chillflow.connectors.database import TRIP_COLUMNS, migrations
from chillflow.connectors.sqlite import SqliteDatabase
from chillflow.errors import DatabaseError, MissingTableError
from chillflow.model.codec import CompleteTripStruct
from chillflow.model.table_rows import COMPLETE_TRIP, MONEY, Row, UnfitError, refusal, to_table_row
from chillflow.model.trips import CompleteTrip, TripValues
from chillflow.production.rejected import RejectedRow
from chillflow.production.table_trips import TableTrips
from tests.trip_rows import expected_messages, rows_of, to_row
from tests.unit.vocabulary import BEGINNING, ONE_MINUTE_LATER, TEN_MINUTES_LATER, trip, trips

WAIT = timedelta(seconds=0.1)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "folder" / "trips.db", WAIT)
    database.migrate()
    yield database
    database.close()


def struct(one: CompleteTrip) -> TripValues:
    return CompleteTripStruct(*(getattr(one, name) for name in CompleteTrip.model_fields))


def upsert(database: SqliteDatabase, *made: CompleteTrip, source: str = "load") -> None:
    database.upsert({COMPLETE_TRIP: [to_table_row(struct(one), source) for one in made]})


def batches(database: SqliteDatabase, **choice: Any) -> Iterator[list[Row]]:
    return database.trips(**{"trip_key": None, "since": None, "until": None, "limit": None, **choice})


def found(database: SqliteDatabase, **choice: Any) -> list[Row]:
    return [row for batch in batches(database, **choice) for row in batch]


def keys(database: SqliteDatabase, **choice: Any) -> list[str]:
    return [str(row[0]) for row in found(database, **choice)]


def to_the_cent(one: CompleteTrip) -> CompleteTrip:
    cents = {name: round(value, 2) + 0.0 for name in MONEY if (value := getattr(one, name)) is not None}
    return one.model_copy(update=cents)


def test_migrations_are_applied_once(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "trips.db", WAIT)
    assert database.migrate() == [step.name for step in migrations()]
    assert database.migrate() == []
    database.check()
    again = SqliteDatabase(tmp_path / "trips.db", WAIT)
    assert again.migrate() == []
    connection = sqlite3.connect(tmp_path / "trips.db")
    assert connection.execute("select count(*) from dim_zone").fetchone() == (265,)
    assert connection.execute("select count(*) from mart_zone_flow").fetchone() == (0,)
    assert [step.version for step in migrations()] == [*range(1, len(migrations()) + 1)]


def test_the_error_of_a_missing_table_says_what_to_run(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "trips.db", WAIT)
    with pytest.raises(MissingTableError, match="init-db"):
        database.check()
    with pytest.raises(MissingTableError, match="init-db"):
        found(database)
    with pytest.raises(MissingTableError, match="init-db"):
        upsert(database, trip())


def test_a_file_that_is_not_a_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "trips.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(DatabaseError):
        SqliteDatabase(tmp_path / "trips.db", WAIT).check()
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseError):
        SqliteDatabase(tmp_path / "file" / "trips.db", WAIT).migrate()


def test_only_a_newer_revision_replaces_a_row(database: SqliteDatabase) -> None:
    for revision, passengers in ((1, 1), (3, 3), (2, 2), (3, 4), (0, 5)):
        upsert(database, trip(revision=revision, passenger_count=passengers), source="stream")
    (row,) = found(database)
    assert row[TRIP_COLUMNS.index("passenger_count")] == 3
    assert len(found(database)) == 1


def test_the_newest_revision_of_a_batch_wins(database: SqliteDatabase) -> None:
    upsert(database, *(trip(revision=revision, passenger_count=revision) for revision in (2, 1, 4, 3)))
    (row,) = found(database)
    assert row[TRIP_COLUMNS.index("passenger_count")] == 4


def test_a_batch_is_written_whole_or_not_at_all(database: SqliteDatabase) -> None:
    good, bad = (to_table_row(struct(trip(trip_key=key)), "load") for key in ("good", "bad"))
    with pytest.raises(DatabaseError):
        database.upsert({COMPLETE_TRIP: [good, (*bad[:-1], "neither")]})
    assert len(found(database)) == 0
    upsert(database, trip())
    assert len(found(database)) == 1


def test_a_locked_database_is_a_database_error(database: SqliteDatabase, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "folder" / "trips.db", isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(DatabaseError, match="locked"):
        upsert(database, trip())
    other.execute("rollback")
    upsert(database, trip())
    assert len(found(database)) == 1


def test_trips_are_chosen_and_ordered(database: SqliteDatabase) -> None:
    begin = [BEGINNING + timedelta(hours=n) for n in range(4)]
    made = [
        trip(trip_key="d", pickup_ts=begin[3], dropoff_ts=begin[0] - timedelta(hours=1)),
        trip(trip_key="b2", pickup_ts=begin[1], dropoff_ts=begin[3]),
        trip(trip_key="b1", pickup_ts=begin[1], dropoff_ts=begin[2]),
        trip(trip_key="a", pickup_ts=begin[0], dropoff_ts=begin[1]),
        trip(trip_key="c", pickup_ts=begin[2] + timedelta(microseconds=1), dropoff_ts=begin[3]),
    ]
    upsert(database, *made)
    assert keys(database) == ["d", "a", "b1", "b2", "c"]
    assert keys(database, limit=2) == ["a", "b1"]
    assert keys(database, limit=0) == []
    assert keys(database, limit=9) == ["d", "a", "b1", "b2", "c"]
    assert keys(database, since=begin[1]) == ["d", "b1", "b2", "c"]
    assert keys(database, until=begin[1]) == ["a"]
    assert keys(database, since=begin[2], until=begin[3]) == ["c"]
    assert keys(database, since=begin[2] + timedelta(microseconds=2), until=begin[3]) == []
    assert keys(database, since=begin[1].astimezone(timezone(timedelta(hours=-5))), limit=1) == ["b1"]
    assert keys(database, trip_key="b2") == ["b2"]
    assert keys(database, trip_key="x") == []


@pytest.mark.parametrize("size", [1, 3, 10])
def test_batches_are_in_the_order_of_the_earlier_time(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(sqlite, "READ_ROWS", size)
    upsert(database, *(trip(trip_key=str(n), dropoff_ts=BEGINNING + timedelta(minutes=n - 5)) for n in range(10)))
    assert max(map(len, batches(database))) == size
    firsts = [min(row[:2]) for row in rows_of(TableTrips(batches(database))) if not isinstance(row, RejectedRow)]
    assert len(firsts) == 10
    assert firsts == sorted(firsts)


def test_a_row_that_is_no_trip_is_rejected_under_its_key(database: SqliteDatabase, tmp_path: Path) -> None:
    upsert(
        database, *(trip(trip_key=key) for key in "abcd"), trip(trip_key="old", pickup_ts=BEGINNING.replace(year=900))
    )
    with sqlite3.connect(tmp_path / "folder" / "trips.db") as other:
        other.execute("update stg_complete_trip set service = 'blue' where trip_key = 'b'")
        other.execute(
            "update stg_complete_trip set passenger_count = 1.5, extra_columns = '{\"a\":1}' where trip_key = 'c'"
        )
    read = [*rows_of(TableTrips(batches(database)))]
    rejected = {row.row: row for row in read if isinstance(row, RejectedRow)}
    assert [row[2] for row in read if not isinstance(row, RejectedRow)] == ["a", "d"]
    assert {row.file for row in rejected.values()} == {"stg.complete_trip"}
    assert {key: row.reason for key, row in rejected.items()} == {
        "b": "service: blue is neither yellow nor green",
        "c": "passenger_count: 1.5 is not a 32-bit integer",
        "old": "pickup_ts: 0900-01-01T12:00:00.000000+00:00 is not a time since 1970",
    }
    assert b'"trip_key":"c"' in (rejected["c"].value or b"")
    assert b'"passenger_count":1.5' in (rejected["c"].value or b"")


@given(trips())
@settings(max_examples=60, deadline=None)
def test_values_are_equal_after_a_round_trip(tmp_path_factory: pytest.TempPathFactory, one: CompleteTrip) -> None:
    if refusal(struct(one)) or one.dropoff_ts.year < 1970:
        return
    database = SqliteDatabase(tmp_path_factory.mktemp("db") / "trips.db", WAIT)
    database.migrate()
    upsert(database, one)
    (row,) = rows_of(TableTrips(batches(database)))
    assert not isinstance(row, RejectedRow)
    assert row == to_row(to_the_cent(one))
    assert expected_messages([row]) == expected_messages([to_row(to_the_cent(one))])
    database.close()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"trip_key": "é" * 1001}, "longer than 2000 bytes"),
        ({"trip_key": "a\0b"}, "NUL"),
        ({"store_and_fwd_flag": "\0"}, "NUL"),
        ({"extra_columns": {"a": [{"b": "\0"}]}}, "NUL"),
        ({"extra_columns": {"\0": 1}}, "NUL"),
        ({"fare_amount": 1e8}, "fare_amount"),
        ({"ehail_fee": -99_999_999.996}, "ehail_fee"),
        ({"fare_amount": 99_999_999.99}, None),
        ({"trip_key": "é" * 1000}, None),
        ({"extra_columns": {"a": "é"}}, None),
    ],
)
def test_trips_that_a_table_cannot_hold_are_refused(fields: dict[str, Any], why: str | None) -> None:
    reason = refusal(struct(trip(**fields)))
    if why is None:
        assert reason is None
        to_table_row(struct(trip(**fields)), "stream")
    else:
        assert why in (reason or "")
        with pytest.raises(UnfitError, match=re.escape(reason or "")):
            to_table_row(struct(trip(**fields)), "stream")


@pytest.mark.parametrize(("dollars", "cents"), [(0.125, 0.12), (0.375, 0.38), (2.675, 2.67), (-0.125, -0.12)])
def test_money_is_rounded_half_to_even_on_its_exact_value(dollars: float, cents: float) -> None:
    assert to_table_row(struct(trip(tip_amount=dollars)), "load")[COMPLETE_TRIP.columns.index("tip_amount")] == cents


def test_times_before_the_year_1000_sort_too(database: SqliteDatabase) -> None:
    old = datetime(900, 1, 1, tzinfo=UTC)
    upsert(database, trip(trip_key="b"), trip(trip_key="a", pickup_ts=old, dropoff_ts=old))
    assert keys(database) == ["a", "b"]
    assert keys(database, until=ONE_MINUTE_LATER, since=BEGINNING) == ["b"]
    assert keys(database, since=TEN_MINUTES_LATER) == []
