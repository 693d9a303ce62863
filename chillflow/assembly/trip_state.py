"""The state of a trip, and the results that assembly emits. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TypeAlias

import msgspec

from chillflow.model.events import EVENT_CLASSES, DecodedEvent
from chillflow.model.measures import Change
from chillflow.model.trips import TripValues

__all__ = [
    "ALL",
    "COMPLETE",
    "COUNTED",
    "EXCLUDED",
    "FIXED",
    "INCOMPLETE",
    "NEEDED",
    "OPEN",
    "UNCOUNTED",
    "Mark",
    "Result",
    "TripState",
    "needed_events",
]

OPEN, INCOMPLETE, COMPLETE = range(3)
"""The status of a trip."""
UNCOUNTED, COUNTED, EXCLUDED, FIXED = range(4)
"""How a trip counts in windows: not yet; with its measures; excluded, as too late or with values that spoil sums; with
the measures of an earlier revision, because the correction came too late."""

ALL = (1 << len(EVENT_CLASSES)) - 1
"""The mask of all kinds."""
NEEDED = tuple(kind for kind, cls in enumerate(EVENT_CLASSES) if cls.needed)
"""The kinds (positions in EVENT_CLASSES) of the events that a complete trip needs."""
needed_events: Callable[[list[DecodedEvent | None]], tuple[DecodedEvent | None, ...]] = itemgetter(*NEEDED)
"""The events of these kinds."""


Mark: TypeAlias = str | tuple[str, int]
"""The identity of an event of a complete trip: its id; with its version, unless that is 0."""


class Result(msgspec.Struct, frozen=True, gc=False):
    """One revision of a trip."""

    trip: TripValues
    """The trip; the unknown fields of an incomplete one are None."""
    missing: tuple[str, ...]
    """The event types that an incomplete trip lacks; empty for a complete one."""
    last_incomplete: Result | None = None
    """The last incomplete revision of a trip that this result completes."""
    dropoff: int | None = None
    """The drop-off of a complete trip, ms."""
    changes: tuple[Change, ...] = ()
    """Changes to windows: the measures of the last revision subtracted, those of this one added."""


@dataclass(slots=True)
class TripState:
    """The state of one trip. Not a msgspec struct: their fields are set five times as slowly."""

    deadline: int | None
    """ms; the state expires when the watermark has passed it."""
    status: int
    revision: int
    events: list[DecodedEvent | None]
    """By kind, the event that counts, or None. Empty for a complete trip, which holds all that its events say."""
    vacant: int = 0
    """Mask of the kinds that an open trip lacks; 0 for a closed one. See `Slots`."""
    counted: int = UNCOUNTED
    trip: TripValues | None = None
    """The last revision of a complete trip."""
    marks: list[Mark | None] = field(default_factory=list)
    """By kind, the identity of the event that counts for a complete trip, or None."""

    @property
    def is_complete(self) -> bool:
        """Whether all needed events of an open or incomplete trip are there."""
        return None not in needed_events(self.events)

    @property
    def size(self) -> int:
        """The number of events."""
        return len([each for each in self.marks or self.events if each is not None])

    @property
    def trip_key(self) -> str:
        """The key, which all its events share."""
        return next(event.trip_key for event in self.events if event is not None)
