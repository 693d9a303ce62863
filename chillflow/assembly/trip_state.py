"""The state of a trip, and the results that assembly emits. Pure."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

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
    "SIZES",
    "UNCOUNTED",
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
SIZES = tuple(len(EVENT_CLASSES) - vacant.bit_count() for vacant in range(ALL + 1))
"""By mask of missing kinds, the number of events."""
NEEDED = tuple(kind for kind, cls in enumerate(EVENT_CLASSES) if cls.needed)
"""The kinds (positions in EVENT_CLASSES) of the events that a complete trip needs."""
needed_events: Callable[[list[DecodedEvent | None]], tuple[DecodedEvent | None, ...]] = itemgetter(*NEEDED)
"""The events of these kinds."""


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


class TripState(msgspec.Struct, gc=False):
    """The state of one trip."""

    deadline: int | None
    """ms; the state expires when the watermark has passed it."""
    status: int
    revision: int
    events: list[DecodedEvent | None]
    """By kind, the event that counts, or None."""
    vacant: int = 0
    """Mask of the kinds that an open trip lacks; 0 for a closed one. See `Slots`."""
    counted: int = UNCOUNTED
    trip: TripValues | None = None
    """The last revision of a complete trip."""

    @property
    def is_complete(self) -> bool:
        """Whether all needed events are there."""
        events = self.events
        for kind in NEEDED:  # noqa: SIM110 - twice as fast as all()
            if events[kind] is None:
                return False
        return True

    @property
    def size(self) -> int:
        """The number of events."""
        return len(self.events) - self.events.count(None)

    @property
    def trip_key(self) -> str:
        """The key, which all its events share."""
        return next(event.trip_key for event in self.events if event is not None)
