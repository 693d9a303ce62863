"""Snapshots that stand in recovery stores: each version there has been is gone on from, a newer one is refused.

A golden file holds a snapshot as Python's own values, as the release of that version took it. Where today's code
takes another, its VERSION must change, and the new one gets a file of its own beside the old.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chillflow.connectors import sink, source
from chillflow.connectors.filelog import FileLog
from chillflow.errors import RecoveryError
from chillflow.keyed import group as keygroup
from chillflow.keyed.batches import Record
from chillflow.keyed.watermark import WatermarkTracker
from chillflow.model.events import EVENT_TYPES, Event
from chillflow.model.messages import Message
from chillflow.model.topics import registry
from chillflow.production.splitting import split
from chillflow.settings import load
from tests.unit.test_exactly_once_sink import fresh, result, written
from tests.unit.vocabulary import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    ONE_MINUTE_LATER,
    TEN_MINUTES_LATER,
    group,
    payment_event,
    records,
    trip,
)

GOLDEN = Path(__file__).parent / "golden"
TOPIC = "trip-events"
DAY_AND_HOUR = timedelta(hours=25)


def golden(part: str) -> list[Any]:
    """A parameter for each version of this part's snapshots."""
    paths = sorted(GOLDEN.glob(f"{part}_v*.txt"))
    return [pytest.param(ast.literal_eval(path.read_text()), id=path.stem) for path in paths]


# The source: 30 messages were read


def topic_of(folder: Path, count: int) -> FileLog:
    """A topic of messages that are a minute of event time apart, but for some that come late."""
    log = FileLog(folder)
    log.ensure_topics([registry(load())[TOPIC]], 1, 1)
    writer = log.writer("test")
    for number in range(count):
        writer.send(Message(TOPIC, b"trip %d" % (number // 5), b'{"number":%d}' % number, time_of(number)))
    writer.flush()
    writer.close()
    return log


def time_of(number: int) -> int:
    return NOW + number * MINUTE - (number % 4 == 3) * HOUR


def partition(log: FileLog, state: Any) -> Any:
    return source.LogSource(log, TOPIC, 16, 20, group="test").build_part("read_events", "0000", state)


def source_snapshot(folder: Path) -> Any:
    part = partition(topic_of(folder, 30), None)
    while not any(records_of(part)):
        pass
    return part.snapshot()


def records_of(part: Any) -> list[Record]:
    """The records of the next batch."""
    lists = [some for _, some in part.next_batch() if isinstance(some, list)]
    return sorted((Record(*record) for some in lists for record in some), key=lambda record: record.offset)


@pytest.mark.parametrize("snapshot", golden("source"))
def test_a_source_goes_on(snapshot: Any, tmp_path: Path) -> None:
    part = partition(topic_of(tmp_path, 40), snapshot)
    found = [record for _ in range(3) for record in records_of(part)]
    time = WatermarkTracker(20)
    watermarks = [time.observe(time_of(number)) for number in range(40)]
    assert [record.value for record in found] == [b'{"number":%d}' % number for number in range(30, 40)]
    assert [record.watermark for record in found] == watermarks[30:]


# The sink: 20 results were durable, 10 more were not


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
def test_a_sink_goes_on(snapshot: Any, tmp_path: Path) -> None:
    sink_snapshot(tmp_path)
    log, exactly_once = fresh(tmp_path)
    part = exactly_once.build_part("write", "0000", snapshot)
    part.write_batch([[result(number) for number in range(20, 40)]])
    part.snapshot()
    part.close()
    expected = Counter((each.topic, each.key, each.value, each.headers or None) for each in map(result, range(40)))
    assert written(log) == expected


# The key group: an incomplete trip, an open one, a complete one

LATER = NOW + 25 * HOUR + 1
"""When a trip of the BEGINNING has become incomplete."""


def later_trip(key: str) -> list[Event]:
    times = {"pickup_ts": ONE_MINUTE_LATER + DAY_AND_HOUR, "dropoff_ts": TEN_MINUTES_LATER + DAY_AND_HOUR}
    return split(trip(trip_key=key, **times))


def key_group_snapshot() -> Any:
    one = group()
    one.process([records(split(trip(trip_key="incomplete"))[:2]), LATER])
    one.process([records([*later_trip("open")[:2], *later_trip("complete")], LATER)])
    return group(one.snapshot()).snapshot()  # what is open has waited since before


@pytest.mark.parametrize("snapshot", golden("key_group"))
def test_a_key_group_goes_on(snapshot: Any) -> None:
    one = group(snapshot)
    rest = [*later_trip("open")[2:], *split(trip(trip_key="incomplete"))[2:]]
    correction = payment_event(trip_key="complete", event_version=1, total_amount=20.0)
    results = one.process([records([*rest, correction], LATER + MINUTE)]).results
    assert [(each.trip.trip_key, each.trip.revision, len(each.missing)) for each in results] == [
        ("open", 1, 0),
        ("incomplete", 2, 2),
        ("incomplete", 3, 1),
        ("incomplete", 4, 0),
        ("complete", 2, 0),
    ]
    opened, corrected = results[0].trip, results[-1].trip
    assert (opened.pickup_ts, opened.dropoff_ts) == (ONE_MINUTE_LATER + DAY_AND_HOUR, TEN_MINUTES_LATER + DAY_AND_HOUR)
    assert (corrected.total_amount, corrected.do_zone_id, corrected.trip_distance) == (20.0, 239, 1.98)
    assert len(one) == 3
    one.process([NOW + 9 * DAY])
    assert len(one) == 0


@pytest.mark.parametrize("snapshot", golden("key_group"))
def test_deadlines_of_a_key_group_go_on(snapshot: Any) -> None:
    one = group(snapshot)
    (closed,) = one.process([NOW + 51 * HOUR]).results
    assert (closed.trip.trip_key, closed.missing) == ("open", EVENT_TYPES[2:])
    assert len(one) == 2
    one.process([NOW + 25 * HOUR + 8 * DAY])
    assert len(one) == 2
    one.process([NOW + 25 * HOUR + 8 * DAY + 1])
    assert len(one) == 1


# All of them

TAKEN: dict[str, tuple[int, Callable[[Path], Any]]] = {
    "source": (source.VERSION, source_snapshot),
    "sink": (sink.VERSION, sink_snapshot),
    "key_group": (keygroup.VERSION, lambda folder: key_group_snapshot()),
}


@pytest.mark.parametrize("part", TAKEN)
def test_what_is_taken_today_is_golden(part: str, tmp_path: Path) -> None:
    version, take = TAKEN[part]
    path, taken = GOLDEN / f"{part}_v{version}.txt", take(tmp_path)
    assert path.exists(), f"put into {path.name}: {taken!r}"
    assert ast.literal_eval(path.read_text()) == taken


@pytest.mark.parametrize(
    ("part", "restore"),
    [
        ("source", lambda folder, state: partition(topic_of(folder, 30), state)),
        ("sink", lambda folder, state: fresh(folder)[1].build_part("write", "0000", state)),
        ("key_group", lambda folder, state: group(state)),
    ],
)
def test_a_newer_one_is_refused(part: str, restore: Callable[[Path, Any], Any], tmp_path: Path) -> None:
    version, _ = TAKEN[part]
    newest = ast.literal_eval((GOLDEN / f"{part}_v{version}.txt").read_text())
    with pytest.raises(RecoveryError, match=rf"release.*{version + 1}|{version + 1}.*release") as refused:
        restore(tmp_path, {**newest, "version": version + 1})
    assert "\n" not in str(refused.value)
