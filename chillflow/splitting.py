"""Trip -> events: one trip at a time as models, or a stream of rows as bytes in event-time order.

Both ways give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from chillflow.codec import time_text
from chillflow.events import EVENT_CLASSES, PICKUP_EVENTS, Event, TripEvent, wire
from chillflow.messages import Message
from chillflow.trips import TRIP_FIELDS, CompleteTrip, microseconds

__all__ = ["ROW_FIELDS", "Leg", "TripRow", "encode_leg", "schedule", "split", "to_row"]

ROW_FIELDS = ("pickup_us", "dropoff_us", "trip_key", *TRIP_FIELDS)
TripRow: TypeAlias = tuple[Any, ...]
"""A trip's values in the order of ROW_FIELDS: first its two times in µs since 1970 (`pickup_ts` and
`dropoff_ts` are the same as RFC 3339 text)."""

_PICKUP, _DROPOFF = range(PICKUP_EVENTS), range(PICKUP_EVENTS, len(EVENT_CLASSES))
_COMMON = tuple(TripEvent.model_fields)
_CARRIED = tuple(tuple(name for name in cls.struct.__struct_fields__ if name not in _COMMON) for cls in EVENT_CLASSES)
_GETTERS = tuple(
    itemgetter(
        *(
            ROW_FIELDS.index(name)
            for name in ("trip_key", "pickup_ts" if kind in _PICKUP else "dropoff_ts", *_CARRIED[kind])
        )
    )
    for kind in range(len(EVENT_CLASSES))
)
_STRUCTS: tuple[Any, ...] = tuple(cls.struct for cls in EVENT_CLASSES)


def split(trip: CompleteTrip) -> list[Event]:
    """The five events of a trip, in their order."""
    events: list[Any] = [
        cls(
            trip_key=trip.trip_key,
            event_time=trip.pickup_ts if kind in _PICKUP else trip.dropoff_ts,
            **{name: getattr(trip, name) for name in _CARRIED[kind]},
        )
        for kind, cls in enumerate(EVENT_CLASSES)
    ]
    return events


def to_row(trip: CompleteTrip) -> TripRow:
    """The trip in the form that `schedule` and `encode_leg` take."""
    values = {name: getattr(trip, name) for name in ("trip_key", *TRIP_FIELDS)}
    values |= {name: time_text(values[name]) for name in ("pickup_ts", "dropoff_ts")}
    return (microseconds(trip.pickup_ts), microseconds(trip.dropoff_ts), *values.values())


class Leg(NamedTuple):
    """The events of a trip that happen at one time: those of the pickup, or those of the drop-off."""

    at: int
    """Its place in the stream, an event time in µs since 1970: `time`, unless it is delayed on purpose."""
    time: int
    """When it happened, µs since 1970."""
    kinds: range
    """Places among the five events."""
    row: TripRow


def schedule(rows: Iterable[TripRow]) -> Iterator[Leg]:
    """Rows in the order of their first time -> legs in event-time order; of one time, in the order of rows.

    Holds only the trips that are under way, so memory follows the longest trips, not the file.
    """
    later: list[tuple[int, int, range, TripRow]] = []
    for number, row in enumerate(rows):
        pickup, dropoff = row[0], row[1]
        backwards = dropoff < pickup
        first = dropoff if backwards else pickup
        while later and later[0][:2] < (first, number):
            time, _, kinds, due = heappop(later)
            yield Leg(time, time, kinds, due)
        if backwards:
            yield Leg(dropoff, dropoff, _DROPOFF, row)
            heappush(later, (pickup, number, _PICKUP, row))
        else:
            yield Leg(pickup, pickup, _PICKUP, row)
            heappush(later, (dropoff, number, _DROPOFF, row))
    while later:
        time, _, kinds, due = heappop(later)
        yield Leg(time, time, kinds, due)


def encode_leg(leg: Leg, topic: str) -> list[Message]:
    """The messages of a leg, as they go on the wire; the timestamp is the event time."""
    timestamp, key = leg.time // 1000, leg.row[2].encode()
    messages = []
    for kind in leg.kinds:
        trip_key, event_time, *carried = _GETTERS[kind](leg.row)
        value = wire(_STRUCTS[kind]("", trip_key, event_time, 1, 0, *carried))
        messages.append(Message(topic, key, value, timestamp))
    return messages
