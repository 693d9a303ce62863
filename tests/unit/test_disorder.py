"""Disorder has the configured strength, and is the same for the same seed."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from chillflow.model.events import EVENT_TYPES, PICKUP_EVENTS
from chillflow.model.trips import microseconds
from chillflow.production.disorder import Disorder
from chillflow.production.splitting import PlacedEvent
from tests.unit.vocabulary import BEGINNING

MINUTE = 60_000_000
HOUR = 60 * MINUTE
TRIPS = 3000


@pytest.fixture(scope="module")
def placed() -> list[PlacedEvent]:
    """Two days of trips of ten minutes, one starting each minute."""
    first = microseconds(BEGINNING)
    times = [
        (first + number * MINUTE + 10 * MINUTE * (kind >= PICKUP_EVENTS), number, kind)
        for number in range(TRIPS)
        for kind in range(len(EVENT_TYPES))
    ]
    return [PlacedEvent(time, time, kind, f"{number:04d}".encode(), b"") for time, number, kind in sorted(times)]


def sent(placed: list[PlacedEvent], disorder: Disorder) -> list[tuple[int, int, bytes, int]]:
    """Place in the stream, event time, trip and kind of each event."""
    return [(event.at, event.time, event.key, event.kind) for event in disorder.apply(placed)]


def test_no_disorder_changes_nothing(placed: list[PlacedEvent]) -> None:
    disorder = Disorder()
    assert not disorder
    assert sent(placed, disorder) == [(event.at, event.time, event.key, event.kind) for event in placed]


def test_the_same_seed_makes_the_same_stream(placed: list[PlacedEvent]) -> None:
    def make(seed: int) -> list[tuple[int, int, bytes, int]]:
        return sent(placed, Disorder(timedelta(hours=1), 0.05, 0.01, 0.01, seed))

    assert make(1) == make(1)
    assert make(1) != make(2)


def test_delays_are_limited_and_places_ordered(placed: list[PlacedEvent]) -> None:
    disorder = Disorder(shuffle=timedelta(hours=1))
    events = sent(placed, disorder)
    assert [at for at, *_ in events] == sorted(at for at, *_ in events)
    assert all(0 <= at - time <= HOUR for at, time, *_ in events)
    assert Counter(event[2:] for event in events) == Counter((event.key, event.kind) for event in placed)
    assert disorder.stats.delayed > 0.99 * len(events)


def test_shares_are_as_configured(placed: list[PlacedEvent]) -> None:
    disorder = Disorder(duplicates=0.1, drop=0.2)
    events = Counter(event[2:] for event in sent(placed, disorder))
    stats = disorder.stats
    assert sum(events.values()) == 5 * TRIPS - stats.dropped + stats.duplicated
    assert 5 * TRIPS - len(events) == stats.dropped
    assert list(events.values()).count(2) == stats.duplicated
    assert 0.18 < stats.dropped / (5 * TRIPS) < 0.22
    assert 0.09 < stats.duplicated / len(events) < 0.11


def test_late_events_arrive_more_than_the_trip_timeout_behind(placed: list[PlacedEvent]) -> None:
    disorder = Disorder(shuffle=timedelta(minutes=30), late=0.05)
    latest, late = 0, 0
    for _, time, *_ in sent(placed, disorder):
        late += latest - time > 25 * HOUR
        latest = max(latest, time)
    assert late == disorder.stats.late > 0
    assert disorder.stats.late + disorder.stats.delayed <= 5 * TRIPS
