"""The source of the assembly on its own, where a whole flow would need luck with the timing."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bytewax.inputs import AbortExecution

from chillflow.connectors.filelog import FileLog
from chillflow.connectors.source import LogSource
from chillflow.keyed.batches import CLOCK, PartitionProgress, Record
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.model.messages import Message
from chillflow.model.topics import registry
from tests.dataflows.vocabulary import settings

TOPIC = "trip-events"


@pytest.fixture
def log(tmp_path: Path) -> FileLog:
    log = FileLog(tmp_path)
    log.ensure_topics([registry(settings())[TOPIC]], 1, 1)
    return log


def send(log: FileLog, *values: bytes) -> None:
    writer = log.writer("test")
    for value in values:
        writer.send(Message(TOPIC, b"k", value, 1_704_103_200_000))
    writer.flush()
    writer.close()


def values_of(batch: list[tuple[str, Any]]) -> list[bytes | None]:
    return [Record(*record).value for _, records in batch if isinstance(records, list) for record in records]


def read_to_the_end(part: Any) -> tuple[list[bytes | None], Any]:
    """The values of a bounded run, and the last snapshot, each batch an epoch of its own."""
    values: list[bytes | None] = []
    snapshot = None
    for _ in range(50):
        try:
            batch = part.next_batch()
        except StopIteration:
            return values, snapshot
        values += values_of(batch)
        snapshot = part.snapshot()
    raise AssertionError("no end")


@pytest.mark.parametrize("before", [0, 1, 30])
def test_what_comes_during_a_bounded_run_is_left_for_the_next(log: FileLog, before: int) -> None:
    source = LogSource(log, TOPIC, 4, 20, group="test", exit_at_end=True)
    early, late = [b"early %d" % number for number in range(before)], [b"late 1", b"late 2"]
    send(log, *early)
    part = source.build_part("read_events", "0000", None)
    send(log, *late)

    values, snapshot = read_to_the_end(part)
    assert values == early

    values, _ = read_to_the_end(source.build_part("read_events", "0000", snapshot))
    assert values == late


def test_an_end_without_a_snapshot_is_waited_for(log: FileLog) -> None:
    source = LogSource(log, TOPIC, 4, 20, group="test", exit_at_end=True)
    send(log, b"a")
    part = source.build_part("read_events", "0000", None)

    for _ in range(5):
        part.next_batch()  # does not end: nothing says that the epoch is durable
    values, _ = read_to_the_end(part)
    assert values == []


def test_a_bounded_run_of_one_process_ends_at_once_and_tells_of_it_when_all_is_durable(tmp_path: Path) -> None:
    log = FileLog(tmp_path)
    log.ensure_topics([registry(settings())[TOPIC]], 2, 1)
    send(log, b"a", b"b")
    ended: list[Any] = []
    source = LogSource(log, TOPIC, 4, 1, group="test", exit_at_end=True, ended=ended)
    parts = [source.build_part("read_events", name, None) for name in source.list_parts()]
    told: list[Any] = []
    for _ in range(6):
        for part in [*parts]:
            try:
                told += [item for key, item in part.next_batch() if key == CLOCK]
            except StopIteration:
                part.close()
                parts.remove(part)
    assert not parts
    assert [each for each in told if each.last] == [
        PartitionProgress(told[0].partition, 1_704_103_200_000, False, last=True)
    ]
    assert len(ended) == 2
    for end in ended:
        end()


def test_a_drain_ends_only_when_all_is_durable(log: FileLog) -> None:
    draining = False
    source = LogSource(log, TOPIC, 4, 20, group="test", draining=lambda: draining)
    send(log, b"a", b"b")
    part = source.build_part("read_events", "0000", None)
    assert part.next_batch()
    draining = True
    send(log, b"c")

    for _ in range(5):
        assert part.next_batch() == []
    position = part.snapshot()["position"]
    with pytest.raises(AbortExecution):
        part.next_batch()

    draining = False
    batch = source.build_part("read_events", "0000", {**part.snapshot(), "position": position}).next_batch()
    assert values_of(batch) == [b"c"]


def test_the_windows_hear_of_a_time_only_when_all_before_it_has_arrived(log: FileLog) -> None:
    part = LogSource(log, TOPIC, 4, 1, group="test").build_part("read_events", "0000", None)
    assert part.next_batch() == []  # a partition without a message has no time that others must wait for
    send(log, b"a")
    told = []
    for _ in range(3):  # batches of one epoch
        told += [item for key, item in part.next_batch() if key == CLOCK]
    assert told == [PartitionProgress("0000", NO_WATERMARK, False)]
    part.snapshot()
    assert [item for key, item in part.next_batch() if key == CLOCK] == [
        PartitionProgress("0000", 1_704_103_200_000, False)
    ]


def test_a_silent_partition_says_so_and_when_it_is_not_any_more(log: FileLog) -> None:
    source = LogSource(log, TOPIC, 4, 1, group="test", idle_timeout=timedelta(milliseconds=1))
    send(log, b"a")
    part = source.build_part("read_events", "0000", None)
    heard = []
    for more in (False, False, False, True, False, False):
        if more:
            send(log, b"b")
        heard += [item.idle for key, item in part.next_batch() if isinstance(item, PartitionProgress)]
        part.snapshot()
        time.sleep(0.002)
    assert heard == [False, False, True, False, True]
