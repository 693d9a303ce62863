"""Golden snapshots: what recovery stores hold is resumed from, and a change of its format must be deliberate.

A golden file holds a snapshot as Python literals. No format is frozen before 0.1.0: until then a change of a format
replaces its file, and its VERSION stays 1. From 0.1.0 on it needs a new VERSION, and a file next to the old one.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from chillflow.connectors import sink, source
from chillflow.connectors.filelog import FileLog
from chillflow.errors import RecoveryError
from chillflow.keyed import group as keygroup
from chillflow.keyed.batches import Batch
from chillflow.model.codec import encode
from chillflow.model.messages import Message
from chillflow.model.topics import registry
from chillflow.settings import load
from tests.unit.test_exactly_once_sink import fresh, result, written
from tests.unit.test_group import visit, visits
from tests.unit.vocabulary import BEGINNING, DAY, HOUR, MINUTE, NOW, held, start_event

GOLDEN = Path(__file__).parent / "golden"
TOPIC = "trip-events"


def golden(part: str) -> list[Any]:
    """A parameter for each golden snapshot of this part."""
    paths = sorted(GOLDEN.glob(f"{part}_v*.txt"))
    return [pytest.param(ast.literal_eval(path.read_text()), id=path.stem) for path in paths]


# The source: after 30 messages, with an open trial


def topic_of(folder: Path, count: int) -> FileLog:
    """A topic of events that are a minute of event time apart; some come late, one is far ahead, some are junk."""
    log = FileLog(folder)
    log.ensure_topics([registry(load())[TOPIC]], 1, 1)
    writer = log.writer("test")
    for number in range(count):
        key, junk = f"trip {number // 5}", number % 10 == 9
        event = start_event(trip_key=key, event_time=BEGINNING + timedelta(milliseconds=time_of(number) - NOW))
        time = FAR if junk or number == 25 else time_of(number)
        writer.send(Message(TOPIC, key.encode(), b"hello" if junk else encode(event), time))
    writer.flush()
    writer.close()
    return log


FAR = NOW + 40 * DAY
"""The time of the junk and of the event that is far ahead."""


def time_of(number: int) -> int:
    return NOW + number * MINUTE - (number % 4 == 3) * HOUR


def partition(log: FileLog, state: Any) -> Any:
    return source.LogSource(log, TOPIC, 16, 20, group="test").build_part("read_events", "0000", state)


def source_snapshot(folder: Path) -> Any:
    part = partition(topic_of(folder, 30), None)
    while not any(records_of(part)):
        pass
    return part.snapshot()


def records_of(part: Any) -> list[tuple[int, int]]:
    """The offset and the watermark of each record of the next batch."""
    batches = [some for _, some in part.next_batch() if isinstance(some, Batch)]
    return sorted(pair for some in batches for pair in zip(some.records.offsets, some.watermarks, strict=True))


@pytest.mark.parametrize("snapshot", golden("source"))
def test_a_source_resumes(snapshot: Any, tmp_path: Path) -> None:
    log = topic_of(tmp_path, 40)
    undisturbed, resumed = partition(log, None), partition(log, snapshot)
    whole, rest = ([pair for _ in range(3) for pair in records_of(part)] for part in (undisturbed, resumed))
    assert len(whole) == 40
    assert rest == whole[30:]
    assert NOW < rest[0][1] < rest[-1][1] < FAR


# The sink: 20 results are durable, 10 more are not


def sink_snapshot(folder: Path) -> Any:
    _, exactly_once = fresh(folder)
    part = exactly_once.build_part("write", "0000", None)
    part.write_batch([[result(number) for number in range(20)]])
    snapshot = part.snapshot()
    part.write_batch([[result(number) for number in range(20, 30)]])
    part._flush()
    part.close()
    return snapshot


@pytest.mark.parametrize("snapshot", golden("sink"))
def test_a_sink_resumes(snapshot: Any, tmp_path: Path) -> None:
    sink_snapshot(tmp_path)
    log, exactly_once = fresh(tmp_path)
    part = exactly_once.build_part("write", "0000", snapshot)
    part.write_batch([[result(number) for number in range(20, 40)]])
    part.snapshot()
    part.close()
    expected = Counter((each.topic, each.key, each.value, each.headers or None) for each in map(result, range(40)))
    assert written(log) == expected


# The key group: a closed state, a packed open one and one that is not packed

SCHEMA = b"closed pages"


def key_group_snapshot() -> keygroup.GroupSnapshot:
    one = keygroup.KeyGroup(visits(SCHEMA))
    one.process([visit("closed"), NOW + 1, visit("packed", watermark=NOW + 1)])
    with patch("chillflow.keyed.state_store._MOST_LIVE", 0):
        one.snapshot()
    one.process([visit("live", watermark=NOW + 1)])
    return one.snapshot()


@pytest.mark.parametrize("snapshot", golden("key_group"))
def test_a_key_group_resumes(snapshot: Any) -> None:
    one = keygroup.KeyGroup(visits(SCHEMA), snapshot)
    tiers = one.inspect()
    assert (*tiers.live, *tiers.packed_open, *tiers.closed) == (b"live", b"packed", b"closed")
    again = visit("closed", "packed", "live", "new", watermark=NOW + 1)
    assert one.process([again]).results == [b"1 2", b"0 2", b"0 2", b"0 1"]


@pytest.mark.parametrize("snapshot", golden("key_group"))
def test_deadlines_of_a_key_group_resume(snapshot: Any) -> None:
    one = keygroup.KeyGroup(visits(SCHEMA), snapshot)
    one.process([NOW + 2])
    assert one.process([visit("packed", "live", watermark=NOW + 2)]).results == [b"1 2", b"1 2"]
    assert len(held(one, NOW + 2, visits(SCHEMA))) == 3
    one.process([NOW + DAY + 1])
    assert not held(one, NOW + DAY + 1, visits(SCHEMA))


# All of them

TAKEN: dict[str, tuple[int, Callable[[Path], Any]]] = {
    "source": (source.VERSION, source_snapshot),
    "sink": (sink.VERSION, sink_snapshot),
    "key_group": (keygroup.VERSION, lambda folder: key_group_snapshot()),
}


@pytest.mark.parametrize("part", TAKEN)
def test_todays_snapshot_is_the_golden_one(part: str, tmp_path: Path) -> None:
    version, take = TAKEN[part]
    path, taken = GOLDEN / f"{part}_v{version}.txt", take(tmp_path)
    assert path.exists(), f"put into {path.name}: {taken!r}"
    assert ast.literal_eval(path.read_text()) == taken


@pytest.mark.parametrize(
    ("part", "restore"),
    [
        ("source", lambda folder, state: partition(topic_of(folder, 30), state)),
        ("sink", lambda folder, state: fresh(folder)[1].build_part("write", "0000", state)),
        ("key_group", lambda folder, state: keygroup.KeyGroup(visits(SCHEMA), state)),
    ],
)
def test_a_newer_one_is_refused(part: str, restore: Callable[[Path, Any], Any], tmp_path: Path) -> None:
    version, _ = TAKEN[part]
    newest = ast.literal_eval((GOLDEN / f"{part}_v{version}.txt").read_text())
    with pytest.raises(RecoveryError, match=rf"release.*{version + 1}|{version + 1}.*release") as refused:
        restore(tmp_path, {**newest, "version": version + 1})
    assert "\n" not in str(refused.value)
