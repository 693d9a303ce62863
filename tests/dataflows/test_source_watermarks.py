"""The watermarks of the source: only events move them, and neither batches nor restarts nor key groups change them."""

from __future__ import annotations

import pickle
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias
from unittest.mock import patch

import pytest

from chillflow.assembly.account import difference
from chillflow.assembly.tallies import ACCOUNT
from chillflow.connectors.filelog import FileLog
from chillflow.connectors.source import LogSource
from chillflow.keyed.batches import Batch, Undecodable
from chillflow.keyed.placement import group_of
from chillflow.model.codec import encode
from chillflow.model.events import DecodedEvent, TripEvent
from chillflow.model.messages import Message
from chillflow.model.topics import registry
from chillflow.model.trips import CompleteTrip, milliseconds
from chillflow.telemetry import Telemetry
from tests.dataflows.vocabulary import BEGINNING, in_order, settings, trip
from tests.unit.vocabulary import group, start_event

TOPIC = "trip-events"
READ_ON = milliseconds(datetime.fromisoformat("2026-03-01T00:00:00Z"))
"""When the log is read, ms: what a producer that sets no timestamp gives its messages."""
EventTime: TypeAlias = Literal["timestamp", "body"]


class Row(NamedTuple):
    """A record, as a group receives it."""

    offset: int
    key: bytes | None
    event: DecodedEvent | Undecodable
    watermark: int


@dataclass
class Topic:
    """A topic of one partition in a file log."""

    log: FileLog
    event_time: EventTime
    telemetry: Telemetry = field(default_factory=Telemetry)
    sent: int = 0

    def send(self, *some: TripEvent | Message) -> None:
        """Events, whose messages have their event time only if that is where the source looks for it; and messages."""
        writer = self.log.writer("test")
        for each in some:
            if isinstance(each, TripEvent):
                time = milliseconds(each.event_time) if self.event_time == "timestamp" else READ_ON
                writer.send(Message(TOPIC, each.trip_key.encode(), encode(each), time))
            else:
                writer.send(each)
        writer.flush()
        writer.close()
        self.sent += len(some)

    def send_trips(self, numbers: Iterable[int], later: timedelta = timedelta(0)) -> None:
        self.send(*in_order(moved(trip(number), later) for number in numbers))

    def batches(
        self, *, groups: int = 1, size: int = 2048, restarts: bool = False
    ) -> dict[str, list[Batch[DecodedEvent]]]:
        """By key group, the batches that the source emits; with restarts, each batch comes from a resumed source."""
        source = LogSource(
            self.log, TOPIC, groups, 20, group="test", event_time=self.event_time, telemetry=self.telemetry
        )
        found: defaultdict[str, list[Batch[DecodedEvent]]] = defaultdict(list)
        part = source.build_part("read_events", "0000", None)
        with patch("chillflow.connectors.source._BATCH", size):
            while sum(map(len, chain(*found.values()))) < self.sent:
                items = part.next_batch()
                assert items or part.next_awake() is None, "there is more to read"
                for name, item in items:
                    if isinstance(item, Batch):
                        found[name].append(item)
                if restarts:
                    snapshot = pickle.loads(pickle.dumps(part.snapshot()))
                    part.close()
                    part = replace(source).build_part("read_events", "0000", snapshot)
        part.close()
        return found

    def rows(self, *, size: int = 2048, restarts: bool = False) -> list[Row]:
        """The records of the topic, read by a source with one key group."""
        (batches,) = self.batches(size=size, restarts=restarts).values()
        return rows(batches)

    def account(self) -> Counter[str]:
        """What a key group makes of the topic."""
        account = Counter(dict.fromkeys(ACCOUNT, 0))
        for batches in self.batches().values():
            account.update(group().process(batches).tally)
        assert difference(account) == 0
        return account

    @property
    def rejected(self) -> float | None:
        """The metric of rejected candidates."""
        return self.telemetry.metrics.registry.get_sample_value(
            "chillflow_watermark_candidates_total", {"partition": "0"}
        )


def rows(batches: Sequence[Batch[DecodedEvent]]) -> list[Row]:
    return [
        Row(*row)
        for each in batches
        for row in zip(each.records.offsets, each.records.keys, each.events, each.watermarks, strict=True)
    ]


def moved(one: CompleteTrip, later: timedelta) -> CompleteTrip:
    times = {"pickup_ts": one.pickup_ts + later, "dropoff_ts": one.dropoff_ts + later}
    return one.model_copy(update={**times, "trip_key": f"{one.trip_key} {later.days}"})


def hello(number: int) -> Message:
    """A message that is no event, stamped when it was sent."""
    return Message(TOPIC, [None, b"trip-1 0", b""][number % 3], b"hello", READ_ON)


def ahead(count: int) -> list[TripEvent]:
    """Valid events of as many trips, by clocks that are 400 days ahead."""
    time = BEGINNING + timedelta(days=400)
    return [start_event(trip_key=f"ahead {number}", event_time=time, pickup_ts=time) for number in range(count)]


@pytest.fixture(params=["timestamp", "body"])
def topic(request: pytest.FixtureRequest, tmp_path: Path) -> Topic:
    log = FileLog(tmp_path)
    log.ensure_topics([registry(settings())[TOPIC]], 1, 1)
    for path in (tmp_path / TOPIC).glob("*.jsonl"):
        if path.stem != "0000":
            path.unlink()
    return Topic(log, request.param)


def test_messages_that_are_not_events_make_nothing_late(topic: Topic) -> None:
    topic.send_trips(range(1000))
    topic.send(*map(hello, range(20)))
    topic.send_trips(range(1000, 6000))
    account = topic.account()
    assert {name: account[name] for name in ("complete_trips", "late", "dead_letters", "open_trips")} == {
        "complete_trips": 6000,
        "late": 0,
        "dead_letters": 20,
        "open_trips": 0,
    }
    assert topic.rejected == 0


def test_an_event_with_the_key_of_another_trip_does_not_move_the_watermark(topic: Topic) -> None:
    topic.send_trips(range(100))
    foreign = [
        Message(TOPIC, b"trip-%d 0" % (number % 50), encode(event), milliseconds(event.event_time))
        for number, event in enumerate(ahead(150))
    ]
    topic.send(*foreign)
    topic.send_trips(range(100, 200))
    found = topic.rows()
    assert {row.watermark for row in found[500:650]} == {found[499].watermark}
    assert all(isinstance(row.event, Undecodable) for row in found[500:650])
    assert (topic.account()["late"], topic.account()["dead_letters"], topic.rejected) == (0, 150, 0)


@pytest.mark.parametrize("count", [20, 90])
def test_events_far_ahead_make_nothing_late_and_are_counted(topic: Topic, count: int) -> None:
    topic.send_trips(range(100))
    topic.send(*ahead(count))
    topic.send_trips(range(100, 200))
    account = topic.account()
    assert (account["late"], account["complete_trips"], account["open_trips"]) == (0, 200, count)
    assert topic.rejected == count


def test_a_gap_is_passed_and_nothing_is_late(topic: Topic) -> None:
    topic.send_trips(range(100))
    topic.send_trips(range(300), timedelta(days=40))
    found, account = topic.rows(), topic.account()
    assert found[499].watermark < milliseconds(BEGINNING + timedelta(days=1))
    assert found[700].watermark >= milliseconds(BEGINNING + timedelta(days=40))
    assert (account["late"], account["complete_trips"], topic.rejected) == (0, 400, 0)


def disturbed(topic: Topic) -> None:
    """Trips with junk, wrong clocks, events of the past and a gap among them."""
    topic.send_trips(range(60))
    topic.send(*map(hello, range(10)), *ahead(70))
    topic.send_trips(range(60, 120))
    topic.send(*in_order(split_later(150)), *map(hello, range(30)), *ahead(20))
    topic.send_trips([500, 1])
    topic.send_trips(range(100), timedelta(days=40))


def split_later(count: int) -> list[CompleteTrip]:
    """Trips two days ahead: a gap, whose trial is decided by the 100th of their events."""
    return [moved(trip(number), timedelta(days=2)) for number in range(count)]


@pytest.mark.parametrize("size", [1, 7, 100, 333])
@pytest.mark.parametrize("restarts", [False, True])
def test_neither_batches_nor_restarts_change_a_watermark(topic: Topic, size: int, restarts: bool) -> None:
    disturbed(topic)
    whole = topic.rows()
    assert len({row.watermark for row in whole}) > 100
    assert topic.rows(size=size, restarts=restarts) == whole


@pytest.mark.parametrize("groups", [2, 16])
def test_each_key_group_receives_its_records_in_order_with_the_same_watermarks(topic: Topic, groups: int) -> None:
    disturbed(topic)
    whole = topic.rows()
    found = topic.batches(groups=groups)
    assert len(found) == groups
    for name, batches in found.items():
        number = int(name.split("/")[1].split(".")[0])
        assert rows(batches) == [row for row in whole if group_of(row.key, groups) == number]
