"""The five events of a trip as models, and encoded events, single or in columns, on their way to a topic. Pure.

The models are the reference; `event_frames.py` makes the same bytes for whole frames of trips.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import msgspec

from chillflow.model.events import CARRIED, EVENT_CLASSES, PICKUP_EVENTS, Event
from chillflow.model.messages import MessageColumns
from chillflow.model.trips import CompleteTrip

__all__ = ["Events", "PlacedEvent", "encode_events", "split"]

_ENVELOPES = tuple(cls.envelope for cls in EVENT_CLASSES)
_HASHES = tuple(envelope.hash for envelope in _ENVELOPES)
_AFTER_IDS = tuple(envelope.after_id for envelope in _ENVELOPES)


def split(trip: CompleteTrip) -> list[Event]:
    """The five events of a trip, pickup events first."""
    events = [
        cls(
            trip_key=trip.trip_key,
            event_time=trip.pickup_ts if kind < PICKUP_EVENTS else trip.dropoff_ts,
            **{name: getattr(trip, name) for name in CARRIED[kind]},
        )
        for kind, cls in enumerate(EVENT_CLASSES)
    ]
    return cast("list[Event]", events)


class PlacedEvent(msgspec.Struct, frozen=True, gc=False):
    """An encoded event and its place in the stream, for a replay at a pace or in disorder."""

    at: int
    """Place in the stream, an event time in µs since 1970: `time`, or later when disorder delays the event."""
    time: int
    """Event time, µs since 1970."""
    kind: int
    """Index of the event's type in EVENT_TYPES."""
    key: bytes
    content: bytes
    """The event on the wire after its id and type, see `Envelope`."""

    def moved(self, at: int) -> PlacedEvent:
        """The same event at another place."""
        return self if at == self.at else PlacedEvent(at, self.time, self.kind, self.key, self.content)


class Events(NamedTuple):
    """Encoded events in sending order, as columns."""

    times: list[int]
    """Event times, µs since 1970."""
    kinds: list[int]
    keys: list[bytes]
    contents: list[bytes]

    @classmethod
    def of(cls, placed: Sequence[PlacedEvent]) -> Events:
        """The columns of single events."""
        return cls(
            [event.time for event in placed],
            [event.kind for event in placed],
            [event.key for event in placed],
            [event.content for event in placed],
        )


def encode_events(events: Events, topic: str) -> MessageColumns:
    """The messages of the events; a message's timestamp is its event time.

    Measured: 0.9 µs an event, 0.7 of them for the hash. Calling a method for each event takes 1.4.
    """
    values = []
    for kind, content in zip(events.kinds, events.contents, strict=True):
        digest = _HASHES[kind]()
        digest.update(content)
        values.append(b'{"event_id":"' + digest.hexdigest().encode() + _AFTER_IDS[kind] + content)
    return MessageColumns(topic, events.keys, values, [time // 1000 for time in events.times])
