"""The sink of the tables: what it writes and when, on a real SQLite file."""

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from chillflow.connectors.sqlite import SqliteDatabase
from chillflow.connectors.table_sink import TableSink
from chillflow.errors import ChillFlowError
from chillflow.model.table_rows import INCOMPLETE_TRIP, ZONE_WINDOW, Retire, Row
from tests.unit.fake_clock import FakeClock
from tests.unit.vocabulary import BEGINNING

HOUR = timedelta(hours=1)


def window(zone: int, hour: int = 0, *, changes: int = 1) -> Row:
    start = BEGINNING + hour * HOUR
    return (zone, start, 60, start + HOUR, *(0,) * 9, False, changes)


def incomplete(key: str, revision: int) -> Row:
    return (key, revision, "[]", False, BEGINNING, None, 1, None, "{}")


class Sink:
    """A partition of the sink on a fake clock, and the rows of its tables."""

    def __init__(self, path: Path) -> None:
        SqliteDatabase(path, HOUR).migrate()
        self.clock = FakeClock()
        sink = TableSink(lambda: SqliteDatabase(path, HOUR), 1, clocks=self.clock.clocks)
        self.partition = sink.build_part("write", "0", None)
        self._reader = sqlite3.connect(path)

    def windows(self) -> list[Row]:
        """Zone, hour and changes."""
        found = "select pu_zone_id, substr(window_start, 12, 2), changes from mart_zone_window order by 1, 2"
        return self._reader.execute(found).fetchall()

    def revisions(self) -> list[Row]:
        return self._reader.execute("select trip_key, revision from stg_incomplete_trip order by 1").fetchall()

    def close(self) -> None:
        self._reader.close()
        self.partition.close()


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    sink = Sink(tmp_path / "tables.sqlite")
    yield sink
    sink.close()


def test_a_snapshot_writes_pending_rows(sink: Sink) -> None:
    sink.partition.write_batch([{ZONE_WINDOW: [window(1)]}, {INCOMPLETE_TRIP: [incomplete("a", 1)]}])
    sink.partition.snapshot()
    assert sink.windows() == [(1, "12", 1)]
    assert sink.revisions() == [("a", 1)]


def test_the_last_row_of_a_key_is_written(sink: Sink) -> None:
    sink.partition.write_batch(
        [
            {
                ZONE_WINDOW: [window(1, changes=3), window(2), window(1, 1, changes=5)],
                INCOMPLETE_TRIP: [incomplete("a", 2)],
            },
            {ZONE_WINDOW: [window(1, changes=2)], INCOMPLETE_TRIP: [incomplete("a", 1), incomplete("b", 1)]},
        ]
    )
    sink.partition.snapshot()
    assert sink.windows() == [(1, "12", 2), (1, "13", 5), (2, "12", 1)]
    assert sink.revisions() == [("a", 1), ("b", 1)]


def test_windows_are_retired_after_earlier_rows_are_written(sink: Sink) -> None:
    sink.partition.write_batch(
        [{ZONE_WINDOW: [window(1), window(1, 1)]}, Retire(BEGINNING + HOUR), {ZONE_WINDOW: [window(2)]}]
    )
    sink.partition.snapshot()
    assert sink.windows() == [(1, "13", 1), (2, "12", 1)]
    sink.partition.write_batch([Retire(BEGINNING + 2 * HOUR)])
    sink.partition.snapshot()
    assert sink.windows() == []


def test_an_error_in_the_background_is_raised_in_the_flow(tmp_path: Path) -> None:
    sink = TableSink(lambda: SqliteDatabase(tmp_path / "no tables.sqlite", HOUR), 1)
    partition = sink.build_part("w", "0", None)
    partition.write_batch([{ZONE_WINDOW: [window(1)]}])
    with pytest.raises(ChillFlowError):
        partition.snapshot()
    partition.close()


def test_rows_wait_for_a_fifth_of_a_second_or_five_thousand_of_them(sink: Sink) -> None:
    def write(*rows: Row) -> int:
        sink.partition.write_batch([{ZONE_WINDOW: [*rows]}])
        sink.partition._background.wait()
        return len(sink.windows())

    assert write(window(1)) == 0
    sink.clock.now += 0.3
    assert write(window(2)) == 2
    sink.clock.now += 0.1
    assert write(window(3)) == 2
    assert write(*(window(zone) for zone in range(4, 5003))) == 5002
