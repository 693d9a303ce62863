"""The sink of the tables: what is written when, on a real SQLite file."""

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chillflow.connectors.sqlite import SqliteDatabase
from chillflow.connectors.table_sink import TableSink
from chillflow.errors import ChillFlowError
from chillflow.model.table_rows import INCOMPLETE_TRIP, ZONE_WINDOW, Retire, Row
from tests.unit.vocabulary import BEGINNING

HOUR = timedelta(hours=1)


def window(zone: int, hour: int = 0, *, changes: int = 1) -> Row:
    start = BEGINNING + hour * HOUR
    return (zone, start, 60, start + HOUR, *(0,) * 9, False, changes)


def incomplete(key: str, revision: int) -> Row:
    return (key, revision, "[]", False, BEGINNING, None, 1, None, "{}")


class Sink:
    """A partition of the sink, and what stands in its tables."""

    def __init__(self, path: Path) -> None:
        SqliteDatabase(path, HOUR).migrate()
        self.partition: Any = TableSink(lambda: SqliteDatabase(path, HOUR), 1).build_part("write", "0", None)
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


def test_a_snapshot_writes_what_is_held(sink: Sink) -> None:
    sink.partition.write_batch([{ZONE_WINDOW: [window(1)]}, {INCOMPLETE_TRIP: [incomplete("a", 1)]}])
    sink.partition.snapshot()
    assert sink.windows() == [(1, "12", 1)]
    assert sink.revisions() == [("a", 1)]


def test_of_a_key_the_last_row_is_written(sink: Sink) -> None:
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


def test_windows_are_retired_after_what_came_before(sink: Sink) -> None:
    sink.partition.write_batch(
        [{ZONE_WINDOW: [window(1), window(1, 1)]}, Retire(BEGINNING + HOUR), {ZONE_WINDOW: [window(2)]}]
    )
    sink.partition.snapshot()
    assert sink.windows() == [(1, "13", 1), (2, "12", 1)]
    sink.partition.write_batch([Retire(BEGINNING + 2 * HOUR)])
    sink.partition.snapshot()
    assert sink.windows() == []


def test_what_goes_wrong_beside_the_flow_is_raised_in_it(tmp_path: Path) -> None:
    partition: Any = TableSink(lambda: SqliteDatabase(tmp_path / "no tables.sqlite", HOUR), 1).build_part(
        "w", "0", None
    )
    partition.write_batch([{ZONE_WINDOW: [window(1)]}])
    with pytest.raises(ChillFlowError):
        partition.snapshot()
    partition.close()
