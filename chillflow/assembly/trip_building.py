"""Trips built from their events. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TypeAlias

from chillflow.assembly.precedence import Identity
from chillflow.assembly.trip_state import NEEDED, Mark, Result, TripState, needed_events
from chillflow.model.codec import CompleteTripStruct
from chillflow.model.events import (
    CARRIED,
    EVENT_CLASSES,
    EVENT_TYPES,
    PICKUP_EVENTS,
    SCHEMA_VERSION,
    DecodedEvent,
)
from chillflow.model.trips import DERIVED_FIELDS, TRIP_FIELDS, CompleteTrip, TripValues, derived

__all__ = [
    "Values",
    "complete_trip",
    "events_of",
    "getter",
    "identity_of",
    "incomplete_result",
    "mark_of",
    "marks_of",
]

Values: TypeAlias = tuple[object, ...]


def getter(names: Sequence[str]) -> Callable[[object], Values]:
    """A function that returns the values of these attributes as a tuple; `attrgetter` needs at least two for that."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


assert (*CompleteTrip.model_fields,) == ("trip_key", *TRIP_FIELDS, *DERIVED_FIELDS, "revision")
_SUPPLIER = {name: f"event_{kind}.{name}" for kind in NEEDED for name in CARRIED[kind]}
assert {*TRIP_FIELDS} == {*_SUPPLIER}, "a needed event carries each field of a trip"
_build: Callable[..., TripValues] = eval(  # noqa: S307 - our own names; 0.6 µs a trip, 1.5 with attrgetter
    f"lambda {', '.join(f'event_{kind}' for kind in NEEDED)}, revision:"
    f" Trip(event_{NEEDED[0]}.trip_key, {', '.join(_SUPPLIER[name] for name in TRIP_FIELDS)},"
    f" *derived({', '.join(_SUPPLIER[name] for name in ('trip_distance', 'pickup_ts', 'dropoff_ts'))}), revision)",
    {"Trip": CompleteTripStruct, "derived": derived},
)
"""(needed events in the order of their kinds, revision) -> trip."""
carried_values = tuple(map(getter, CARRIED))
"""By kind, a function that returns the values of these fields, of an event or of a trip."""
_BY_PRECEDENCE = (*(kind for kind in range(len(EVENT_CLASSES)) if kind not in NEEDED), *NEEDED)
"""Kinds in ascending precedence: of a field that two events carry, the later one counts, as in a complete trip."""


def complete_trip(events: list[DecodedEvent | None], revision: int) -> TripValues:
    """The trip of these events by kind, among them all needed ones."""
    return _build(*needed_events(events), revision)


def mark_of(event: DecodedEvent) -> Mark:
    """The mark of an event."""
    return (event.event_id, event.event_version) if event.event_version else event.event_id


def marks_of(events: Sequence[DecodedEvent | None], *, is_full: bool) -> list[Mark | None]:
    """The marks of the events of a trip, by kind; `is_full` if none is missing."""
    if is_full and not any(map(_version, events)):
        return [*map(_id, events)]  # a third of the time: nearly always
    return [None if event is None else mark_of(event) for event in events]


_id: Callable[[DecodedEvent | None], str] = attrgetter("event_id")
_version: Callable[[DecodedEvent | None], int] = attrgetter("event_version")


def identity_of(mark: Mark) -> Identity:
    """The identity of the event with this mark."""
    return Identity(mark, 0) if isinstance(mark, str) else Identity(*mark)


def events_of(trip: TripValues, marks: Sequence[Mark | None]) -> list[DecodedEvent | None]:
    """The events of a complete trip, rebuilt from it: each at its usual time, and zone events with the trip's zones."""
    events: list[DecodedEvent | None] = []
    times = (trip.pickup_ts,) * PICKUP_EVENTS + (trip.dropoff_ts,) * (len(EVENT_CLASSES) - PICKUP_EVENTS)
    for cls, carried, time, mark in zip(EVENT_CLASSES, carried_values, times, marks, strict=True):
        if mark is None:
            events.append(None)
        else:
            event_id, version = identity_of(mark)
            events.append(cls.struct(event_id, trip.trip_key, time, SCHEMA_VERSION, version, *carried(trip)))
    return events


def incomplete_result(state: TripState) -> Result:
    """The result of an incomplete trip: its known fields, and the event types it lacks."""
    known: dict[str, object] = {}
    for kind in _BY_PRECEDENCE:
        if (event := state.events[kind]) is not None:
            known |= zip(CARRIED[kind], carried_values[kind](event), strict=True)
    values = [known.get(name) for name in TRIP_FIELDS]
    missing = tuple(name for name, event in zip(EVENT_TYPES, state.events, strict=True) if event is None)
    return Result(CompleteTripStruct(state.trip_key, *values, None, None, None, state.revision), missing)
