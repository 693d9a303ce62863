"""The sink for topics: results stand once, wherever it is cut off."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.connectors.filelog import FileLog
from chillflow.connectors.sink import ExactlyOnceSink
from chillflow.errors import RecoveryError
from chillflow.model.messages import Message, dead_letter
from chillflow.model.topics import TopicNames, registry
from chillflow.settings import load

SETTINGS = load()
RESULTS = {name: spec for name, spec in registry(SETTINGS).items() if name != SETTINGS.topic}


def result(number: int) -> Message:
    """The results of a log, by their number: trips, revisions, late events and dead letters."""
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


def standing(log: FileLog) -> Counter[Any]:
    found: Counter[Any] = Counter()
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
def test_any_crashes_and_epochs_of_any_length(tmp_path_factory: pytest.TempPathFactory, runs: list[Any]) -> None:
    """Each run makes the results from the last durable snapshot on: some epochs' worth, then it is killed."""
    log, sink = fresh(tmp_path_factory.mktemp("sink"))
    state, durable = None, 0
    for durable_results, lost_results, flushed in [*runs, (50, 0, True)]:
        part = sink.build_part("write", "0000", state)
        part.write_batch([[result(number) for number in range(durable, durable + durable_results)]])
        state, durable = part.snapshot(), durable + durable_results
        part.write_batch([[result(number) for number in range(durable, durable + lost_results)]])
        if flushed:
            part._flush()
        part.close()  # a kill: what is flushed stands, and the snapshot is that of before
    expected = Counter((each.topic, each.key, each.value, each.headers or None) for each in map(result, range(durable)))
    assert standing(log) == expected


def test_without_a_recovery_store_what_stands_is_left_out(tmp_path: Path) -> None:
    log, sink = fresh(tmp_path)
    for _ in range(2):
        part = sink.build_part("write", "0000", None)
        part.write_batch([[result(number) for number in range(30)]])
        part.snapshot()
        part.close()
    assert sum(standing(log).values()) == 30


def test_a_snapshot_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    _, sink = fresh(tmp_path)
    with pytest.raises(RecoveryError, match="newer release"):
        sink.build_part("write", "0000", {"version": 2, "ends": {}})
