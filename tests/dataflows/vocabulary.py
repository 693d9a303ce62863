"""Trips, and the records that a source makes of their events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from chillflow.keyed.batches import GroupBatch, Record
from chillflow.keyed.placement import group_of, partition_name
from chillflow.keyed.watermark import WatermarkTracker
from chillflow.model.codec import encode
from chillflow.model.events import DecodedEvent, TripEvent
from chillflow.model.trips import CompleteTrip, milliseconds
from chillflow.production.splitting import split
from chillflow.settings import Settings, load
from tests.unit.vocabulary import batch

BEGINNING = datetime(2024, 1, 1, 12, tzinfo=UTC)
GROUPS = 16
PARTITIONS = 4


def settings(**changes: object) -> Settings:
    return load(kafka_bootstrap_servers="file:nowhere", key_groups=GROUPS, **changes)


def trip(number: int, **changes: object) -> CompleteTrip:
    """One of many trips, a minute apart and a quarter of an hour long."""
    pickup = BEGINNING + timedelta(minutes=number)
    values = {
        "trip_key": f"trip-{number}",
        "pickup_ts": pickup,
        "dropoff_ts": pickup + timedelta(minutes=15),
        "pu_zone_id": 1 + number % 260,
        "do_zone_id": 2,
        "fare_amount": number / 4,
        "trip_distance": 1.5,
    }
    return CompleteTrip(**{**values, **changes})


def in_order(trips: Iterable[CompleteTrip]) -> list[TripEvent]:
    """Their events by event time."""
    events: list[TripEvent] = [event for each in trips for event in split(each)]
    return sorted(events, key=lambda event: event.event_time)


def batches(events: Iterable[TripEvent], *, size: int = 20) -> list[GroupBatch[DecodedEvent]]:
    """What a source makes of a topic of these events: each trip in a partition and a group of its own key."""
    times = [WatermarkTracker(rank=20) for _ in range(PARTITIONS)]
    offsets = [0] * PARTITIONS
    made: list[GroupBatch[DecodedEvent]] = []
    events = list(events)
    for start in range(0, len(events), size):
        grouped: defaultdict[str, list[tuple[Record, int]]] = defaultdict(list)
        for event in events[start : start + size]:
            key = event.trip_key.encode()
            number = sum(key) % PARTITIONS
            group = f"{partition_name(number)}/{group_of(key, GROUPS):04d}"
            time = milliseconds(event.event_time)
            record = Record(offsets[number], time, key, encode(event), None)
            grouped[group].append((record, times[number].observe(time, key)))
            offsets[number] += 1
        made += [(group, batch(*zip(*some, strict=True))) for group, some in grouped.items()]
    return made
