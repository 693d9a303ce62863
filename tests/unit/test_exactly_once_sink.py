"""The exactly-once sink: each result is written once, wherever the sink is killed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.connectors.filelog import FileLog
from chillflow.connectors.sink import ExactlyOnceSink, SinkSnapshot, _CommitPace
from chillflow.errors import RecoveryError
from chillflow.keyed.timed import Timed
from chillflow.model.messages import Message, dead_letter
from chillflow.model.topics import TopicNames, result_topics
from chillflow.settings import load
from chillflow.telemetry.clocks import Clocks
from tests.unit.fake_clock import FakeClock

SETTINGS = load()
RESULTS = result_topics(SETTINGS)


def result(number: int) -> Message:
    """A result by its number in the log: a trip, a revision, a late event or a dead letter."""
    key = b"%d" % (number // 3)
    if number % 5 == 4:
        where = (("topic", b"t"), ("partition", b"0"), ("offset", b"%d" % number))
        return Message(TopicNames.of(SETTINGS).late, b"k", b"{}", None, where)
    if number % 7 == 6:
        return dead_letter(
            TopicNames.of(SETTINGS).dead_letters,
            "decode",
            "bad",
            key=None,
            value=None,
            topic="t",
            partition=0,
            offset=number,
        )
    return Message(SETTINGS.complete_topic, key, b'{"revision":%d,"x":1}' % (number % 3))


def written(log: FileLog) -> Counter[tuple[object, ...]]:
    found = Counter[tuple[object, ...]]()
    for topic in RESULTS:
        for record in log.reader(topic, 0, None, group=None).read(10_000):
            found[topic, record.key, record.value, record.headers] += 1
    return found


def fresh(folder: Path) -> tuple[FileLog, ExactlyOnceSink]:
    log = FileLog(folder)
    log.ensure_topics([*RESULTS.values()], 1, 1)
    return log, ExactlyOnceSink(log, "test", 1, RESULTS)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), max_size=8))
@settings(max_examples=60, deadline=None)
def test_results_are_written_once_across_any_crashes_and_epochs(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[int, int, bool]]
) -> None:
    """Each run computes the results after the last durable snapshot: one durable epoch, part of another, a kill."""
    log, sink = fresh(tmp_path_factory.mktemp("sink"))
    state: SinkSnapshot | None = None
    durable = 0
    for durable_results, lost_results, flushed in [*runs, (50, 0, True)]:
        part = sink.build_part("write", "0000", state)
        part.write_batch([[result(number) for number in range(durable, durable + durable_results)]])
        state, durable = part.snapshot(), durable + durable_results
        part.write_batch([[result(number) for number in range(durable, durable + lost_results)]])
        if flushed:
            part._flush()
        part.close()  # a kill: flushed results are written, but in no snapshot
    expected = Counter((each.topic, each.key, each.value, each.headers or None) for each in map(result, range(durable)))
    assert written(log) == expected


def test_results_already_written_are_skipped_without_a_recovery_store(tmp_path: Path) -> None:
    log, sink = fresh(tmp_path)
    for _ in range(2):
        part = sink.build_part("write", "0000", None)
        part.write_batch([[result(number) for number in range(30)]])
        part.snapshot()
        part.close()
    assert sum(written(log).values()) == 30


def test_a_snapshot_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    _, sink = fresh(tmp_path)
    with pytest.raises(RecoveryError, match="sink snapshot of version 2, this release knows 1"):
        sink.build_part("write", "0000", {"version": 2, "ends": {}})


def test_latency_is_from_reading_the_input_to_the_commit(tmp_path: Path) -> None:
    log, _ = fresh(tmp_path)
    sink = ExactlyOnceSink(log, "test", 1, RESULTS, clocks=Clocks(wall=lambda: 107.5))
    part = sink.build_part("write", "0000", None)

    part.write_batch([Timed([result(0), result(1)], read_at=100.0)])
    part.snapshot()
    part.close()

    (latency,) = sink.telemetry.metrics.latency.collect()
    found = {sample.name.rpartition("_")[2]: sample.value for sample in latency.samples}
    assert (found["count"], found["sum"]) == (2, 15.0)


def test_commits_are_rare_in_a_replay_and_frequent_again_when_live() -> None:
    clock = FakeClock()
    pace = _CommitPace(clock.clocks)

    def pause(*, written: int) -> float:
        pace.begin(written)
        clock.now += 0.01  # the commit
        return round(pace.pause(), 3)

    assert pause(written=50_000) == 0.05  # a burst shorter than a second
    clock.now += 1
    assert pause(written=60_000) == 1.0
    clock.now += 0.5
    assert pause(written=60_000) == 1.0  # decided once a second
    clock.now += 1
    assert pause(written=62_000) == 0.05
