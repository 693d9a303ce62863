"""The source of production: everything once, in order and counted, at full speed and at a pace."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chillflow.production.event_frames import event_frames
from chillflow.production.rejected import RejectedRow
from chillflow.production.replay import Replayed, ReplayStats, replay_singly
from chillflow.production.replay_source import Batch, Pace, ReplaySource
from chillflow.production.screening import Screen
from chillflow.production.splitting import Events, PlacedEvent, encode_events
from tests.trip_rows import frame, to_row
from tests.unit.fake_clock import FakeClock
from tests.unit.vocabulary import BEGINNING, trip

SCREEN = Screen(BEGINNING + timedelta(days=30), timedelta(hours=1), timedelta(days=8))
NO_TRIP = RejectedRow("file", 7, "passenger_count: 1.5", None)


def items(trips: int) -> list[Replayed]:
    rows = [
        to_row(trip(trip_key=str(number), pickup_ts=BEGINNING + timedelta(seconds=number))) for number in range(trips)
    ]
    return [*replay_singly(event_frames([NO_TRIP, frame(rows)], SCREEN, origin="file")), NO_TRIP]


def read(source: ReplaySource) -> list[Batch]:
    """All batches."""
    part = source.build_part("read_trips", "replay", None)
    batches: list[Batch] = []
    while True:
        try:
            batches += part.next_batch()
        except StopIteration:
            return batches


@pytest.mark.parametrize("pace", [Pace(), Pace(rate=1e9), Pace(speed=1e9)], ids=["full speed", "rate", "speed"])
@pytest.mark.parametrize("trips", [0, 1, 249, 250, 700])
def test_everything_comes_once_in_order_and_is_counted(pace: Pace, trips: int) -> None:
    given, stats = items(trips), ReplayStats()
    batches = read(ReplaySource(lambda: iter(given), pace, stats))
    placed = [item for item in given if isinstance(item, PlacedEvent)]
    events = [batch for batch in batches if isinstance(batch, Events)]
    assert [message for some in events for message in encode_events(some, "t")] == [
        *encode_events(Events.of(placed), "t")
    ]
    assert [row for batch in batches if isinstance(batch, list) for row in batch] == [NO_TRIP] * 2
    assert (stats.events, stats.rejected) == (5 * trips, 2)
    assert stats.first == (1_704_110_400_000_000 if trips else None)


def test_columns_are_sent_at_once_and_counted() -> None:
    stats = ReplayStats()
    some = Events([5, 5, 5], [0, 1, 0], [b"1", b"1", b"2"], [b"{}"] * 3), Events([9], [2], [b"1"], [b"{}"])
    given: list[Replayed | Events] = [NO_TRIP, some[0], NO_TRIP, some[1]]
    assert read(ReplaySource(lambda: iter(given), stats=stats)) == [[NO_TRIP], some[0], [NO_TRIP], some[1]]
    assert stats == ReplayStats(trips=2, events=4, rejected=2, first=5)


def test_it_stops_on_request() -> None:
    stopping = False
    source = ReplaySource(lambda: iter(items(700)), stopping=lambda: stopping)
    part = source.build_part("read_trips", "replay", None)
    assert part.next_batch()
    stopping = True
    with pytest.raises(StopIteration):
        part.next_batch()


@pytest.mark.parametrize("pace", [Pace(rate=5.0), Pace(speed=1.0)], ids=["rate", "speed"])
def test_the_pace_is_that_of_the_clock(pace: Pace) -> None:
    clock = FakeClock()
    given = items(100)  # a trip a second, of five events
    stats = ReplayStats()
    part = ReplaySource(lambda: iter(given), pace, stats, clocks=clock.clocks).build_part("read_trips", "replay", None)
    part.next_batch()
    before = stats.events
    assert before <= 5, "at the start hardly anything is due"
    assert part.next_batch() == []
    clock.now += 10
    part.next_batch()
    assert 20 <= stats.events - before <= 50
    awake = part.next_awake()
    assert awake is not None
    assert awake.timestamp() == pytest.approx(clock.now + 0.2)
