"""The source of the assembly on its own, without the timing of a whole flow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import pytest
from bytewax.inputs import AbortExecution, StatefulSourcePartition

from chillflow.connectors.filelog import FileLog
from chillflow.connectors.source import LogSource, SourceSnapshot
from chillflow.keyed.batches import Batch, PartitionProgress, SourceItem, Undecodable
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.model.codec import encode
from chillflow.model.events import DecodedEvent
from chillflow.model.messages import Message
from chillflow.model.topics import registry
from tests.dataflows.vocabulary import settings
from tests.unit.fake_clock import FakeClock
from tests.unit.vocabulary import start_event

TOPIC = "trip-events"
Item: TypeAlias = SourceItem[DecodedEvent]
Partition: TypeAlias = StatefulSourcePartition[Item, SourceSnapshot]
AT = 1_704_103_200_000
"""The time of all events, ms: 2024-01-01, 10:00 UTC."""


@pytest.fixture
def log(tmp_path: Path) -> FileLog:
    log = FileLog(tmp_path)
    log.ensure_topics([registry(settings())[TOPIC]], 1, 1)
    return log


def send(log: FileLog, *trips: str) -> None:
    """The starts of these trips."""
    writer = log.writer("test")
    for key in trips:
        event = start_event(trip_key=key, event_time=datetime.fromtimestamp(AT / 1000, UTC))
        writer.send(Message(TOPIC, key.encode(), encode(event), AT))
    writer.flush()
    writer.close()


def trips_in(batch: Iterable[Item]) -> list[str]:
    """The trips of the events, in the order of the log."""
    some = [each for _, each in batch if isinstance(each, Batch)]
    found = [pair for each in some for pair in zip(each.records.offsets, each.events, strict=True)]
    return [
        event.trip_key for _, event in sorted(found, key=lambda pair: pair[0]) if not isinstance(event, Undecodable)
    ]


def progress_in(batch: Iterable[Item]) -> list[PartitionProgress]:
    return [item for _, item in batch if isinstance(item, PartitionProgress)]


def read_to_the_end(part: Partition) -> tuple[list[str], SourceSnapshot | None]:
    """The trips of a bounded run, and the last snapshot, each batch an epoch of its own."""
    trips: list[str] = []
    snapshot: SourceSnapshot | None = None
    for _ in range(50):
        try:
            batch = part.next_batch()
        except StopIteration:
            return trips, snapshot
        trips += trips_in(batch)
        snapshot = part.snapshot()
    raise AssertionError("no end")


@pytest.mark.parametrize("before", [0, 1, 30])
def test_records_that_arrive_during_a_bounded_run_are_left_for_the_next(log: FileLog, before: int) -> None:
    source = LogSource(log, TOPIC, 4, 20, group="test", exit_at_end=True)
    early, late = [f"early {number}" for number in range(before)], ["late 1", "late 2"]
    send(log, *early)
    part = source.build_part("read_events", "0000", None)
    send(log, *late)

    trips, snapshot = read_to_the_end(part)
    assert trips == early

    trips, _ = read_to_the_end(source.build_part("read_events", "0000", snapshot))
    assert trips == late


def test_a_partition_does_not_end_before_its_snapshot_is_durable(log: FileLog) -> None:
    source = LogSource(log, TOPIC, 4, 20, group="test", exit_at_end=True)
    send(log, "a")
    part = source.build_part("read_events", "0000", None)

    for _ in range(5):
        part.next_batch()  # does not end: no snapshot was taken
    trips, _ = read_to_the_end(part)
    assert trips == []


def test_a_bounded_run_of_one_process_ends_at_once_and_commits_when_all_is_durable(tmp_path: Path) -> None:
    log = FileLog(tmp_path)
    log.ensure_topics([registry(settings())[TOPIC]], 2, 1)
    send(log, "a", "b")
    ended: list[Callable[[], None]] = []
    source = LogSource(log, TOPIC, 4, 1, group="test", exit_at_end=True, ended=ended)
    parts = [source.build_part("read_events", name, None) for name in source.list_parts()]
    progress: list[PartitionProgress] = []
    for _ in range(6):
        for part in [*parts]:
            try:
                progress += progress_in(part.next_batch())
            except StopIteration:
                part.close()
                parts.remove(part)
    assert not parts
    assert [each for each in progress if each.last] == [PartitionProgress(progress[0].partition, AT, False, last=True)]
    assert len(ended) == 2
    for end in ended:
        end()


def test_a_drain_ends_once_everything_is_durable(log: FileLog) -> None:
    draining = False
    source = LogSource(log, TOPIC, 4, 20, group="test", draining=lambda: draining)
    send(log, "a", "b")
    part = source.build_part("read_events", "0000", None)
    assert part.next_batch()
    draining = True
    send(log, "c")

    for _ in range(5):
        assert part.next_batch() == []
    position = part.snapshot()["position"]
    with pytest.raises(AbortExecution):
        part.next_batch()

    draining = False
    resumed = replace(source).build_part("read_events", "0000", {**part.snapshot(), "position": position})
    batch = resumed.next_batch()
    assert trips_in(batch) == ["c"]


def test_the_watermark_is_reported_once_all_records_before_it_have_arrived(log: FileLog) -> None:
    part = LogSource(log, TOPIC, 4, 1, group="test").build_part("read_events", "0000", None)
    assert part.next_batch() == []  # a partition without messages does not hold back the others
    send(log, "a")
    progress = []
    for _ in range(3):  # batches of one epoch
        progress += progress_in(part.next_batch())
    assert progress == [PartitionProgress("0000", NO_WATERMARK, False)]
    part.snapshot()
    assert progress_in(part.next_batch()) == [PartitionProgress("0000", AT, False)]


def test_a_silent_partition_is_reported_as_idle_until_a_record_arrives(log: FileLog) -> None:
    clock = FakeClock()
    source = LogSource(log, TOPIC, 4, 1, group="test", idle_timeout=timedelta(minutes=1), clocks=clock.clocks)
    send(log, "a")
    part = source.build_part("read_events", "0000", None)

    def reported(after: float, *more: str) -> list[bool]:
        send(log, *more)
        clock.now += after
        batch = part.next_batch()
        part.snapshot()
        return [progress.idle for progress in progress_in(batch)]

    assert reported(0) == [False]  # with the first record
    assert reported(1) == [False]  # with its watermark
    assert reported(60) == [True]
    assert reported(60) == []
    assert reported(1, "b") == []  # its watermark is reported after the next snapshot
    assert reported(1) == [False]
    assert reported(59) == []
    assert reported(1) == [True]


def test_an_empty_poll_is_repeated_after_ten_milliseconds(log: FileLog) -> None:
    clock = FakeClock(1_704_103_200.0)
    part = LogSource(log, TOPIC, 4, 1, group="test", clocks=clock.clocks).build_part("read_events", "0000", None)
    part.next_batch()
    assert part.next_awake() == datetime(2024, 1, 1, 10, 0, 0, 10_000, tzinfo=UTC)
    send(log, "a")
    part.next_batch()
    assert part.next_awake() is None
