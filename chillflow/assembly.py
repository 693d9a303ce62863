"""Events -> trips: `assemble(state, event) -> (state, outcome)`. Pure: no clock, no I/O.

A trip is complete when its start, its end and its payment are there; the zone events repeat what those say.
Of two events of one type the higher (`event_version`, `event_id`) counts, whatever the order of arrival. Every
event is counted once, under what its trip is now or as what it is itself: see `ACCOUNT`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import msgspec

from chillflow.analytics import Change, change_of, countable, taken_out
from chillflow.codec import KINDS, CompleteTripStruct, DecodedEvent, utc
from chillflow.events import EVENT_CLASSES, EVENT_TYPES
from chillflow.keygroup import Outcome, Tally
from chillflow.trips import DERIVED_FIELDS, TRIP_FIELDS, CompleteTrip, derived, milliseconds

__all__ = ["ACCOUNT", "Assembly", "Result", "TripState"]

ACCOUNT = (
    "events",
    "complete_trips",
    "incomplete_trips",
    "open_trips",
    "events_in_complete",
    "events_in_incomplete",
    "events_in_open",
    "duplicates",
    "superseded",
    "late",
    "dead_letters",
    "left_out_trips",
)
"""The terms of the account. `events` (read) = the sum of all other terms that count events. `left_out_trips` are
complete trips that are not in the windows as they now are: see `Assembly`."""

STARTED, _EXITED, _ENTERED, PAYMENT, ENDED = range(len(EVENT_CLASSES))
_NEEDED = (STARTED, PAYMENT, ENDED)
_NAMES = ("open", "incomplete", "complete")
OPEN, INCOMPLETE, COMPLETE = range(len(_NAMES))
UNCOUNTED, COUNTED, LEFT_OUT, FIXED = range(4)
"""How a trip stands in the windows. FIXED: with figures that have been corrected since, too late for the windows."""


class Result(NamedTuple):
    """A trip as it now stands."""

    trip: Any
    """A `CompleteTripStruct`; of an incomplete trip what is known is filled in, the rest is None."""
    missing: tuple[str, ...]
    """Event types that have not come, of an incomplete trip; empty for a complete one."""
    was: Result | None = None
    """Of a trip just completed after all: what it was when it was last incomplete."""
    changes: tuple[Change, ...] = ()
    """What it changes in the windows: the figures of its last revision go out, those of this one come in."""


class TripState:
    """What is kept of a trip: its events by kind, what it is, and how it stands in the windows."""

    __slots__ = ("counted", "deadline", "events", "revision", "status")

    def __init__(
        self,
        deadline: int | None,
        status: int,
        revision: int,
        events: list[DecodedEvent | None],
        counted: int = UNCOUNTED,
    ) -> None:
        self.deadline = deadline
        self.status = status
        self.revision = revision
        self.events = events
        self.counted = counted

    @property
    def is_complete(self) -> bool:
        """Whether the start, the end and the payment are there."""
        events = self.events
        return events[STARTED] is not None and events[PAYMENT] is not None and events[ENDED] is not None

    @property
    def size(self) -> int:
        """How many events are held."""
        return len(self.events) - self.events.count(None)


_LATE = Outcome((("late", 1),), late=True)
_DUPLICATE = Outcome((("duplicates", 1),))
_SUPERSEDED = Outcome((("superseded", 1),))
_OPENED = Outcome((("open_trips", 1), ("events_in_open", 1)))
_NOT_IN = (LEFT_OUT, FIXED)
_JOINED = tuple(Outcome(((f"events_in_{name}", 1),)) for name in _NAMES)


class Assembly:
    """The rules of assembly for given time-outs; see `settings` for their meaning.

    A complete trip is left out of the windows if its drop-off is further behind the stamp of its completion than
    the longest trip takes and the longest window lasts: those windows may have been forgotten. So a revision that
    comes when the figures it would take out lie that far back changes nothing any more. The log alone decides.
    """

    def __init__(
        self,
        trip_timeout: timedelta,
        correction_horizon: timedelta,
        incomplete_horizon: timedelta,
        longest_window: timedelta = timedelta(0),
    ) -> None:
        self._timeout, self._correction, self._incomplete, longest = (
            span // timedelta(milliseconds=1)
            for span in (trip_timeout, correction_horizon, incomplete_horizon, longest_window)
        )
        self._windows = self._timeout + self._incomplete + longest
        self.taken = [0] * len(EVENT_CLASSES)
        """Events taken in so far, by kind."""

    def assemble(self, state: TripState | None, event: DecodedEvent, stamp: int) -> tuple[TripState | None, Outcome]:
        """Take in one event of a trip, read at stream time `stamp` (ms).

        A trip's time runs from its first event's stamp, or from that event's own time where the stream is
        behind it: after a gap in the log the stream time follows only with the 20th message, and then jumps.
        """
        kind = KINDS[type(event)]
        self.taken[kind] += 1
        if state is None:
            time = milliseconds(event.event_time)
            if time < stamp - self._correction:
                return None, _LATE
            events: list[DecodedEvent | None] = [None] * len(EVENT_CLASSES)
            events[kind] = event
            return TripState(max(stamp, time) + self._timeout, OPEN, 0, events), _OPENED
        held = state.events[kind]
        if held is not None:
            if held.event_id == event.event_id:
                return state, _DUPLICATE
            if (event.event_version, event.event_id) < (held.event_version, held.event_id):
                return state, _SUPERSEDED
        before, needed = state.status, kind in _NEEDED
        was = _result(state) if before == INCOMPLETE or (before == COMPLETE and needed) else None
        state.events[kind] = event
        if before == COMPLETE and not needed:  # says nothing that is not known already
            return state, _JOINED[COMPLETE] if held is None else _SUPERSEDED
        if before == OPEN and not (needed and state.is_complete):
            return state, _JOINED[OPEN] if held is None else _SUPERSEDED
        state.revision += 1
        result = _result(state)
        tally: Tally = ()
        if not result.missing:
            state.status = COMPLETE
            latest = max([each.event_time for each in state.events if each is not None])
            state.deadline = max(milliseconds(latest), stamp) + self._correction
            left_out = state.counted in _NOT_IN
            changes = self._count(state, was if before == COMPLETE else None, result.trip, stamp)
            result = Result(result.trip, (), was if before == INCOMPLETE else None, changes)
            if left_out != (state.counted in _NOT_IN):
                tally = (("left_out_trips", -1 if left_out else 1),)
        moved = _moved(before, state.status, state.size, 1 if held is None else 0)
        return state, Outcome(moved + tally if tally else moved, result)

    def _count(self, state: TripState, was: Result | None, trip: Any, stamp: int) -> tuple[Change, ...]:
        """Count the trip into the windows, as the revision it now is."""
        changes = []
        if state.counted == FIXED:
            return ()
        if state.counted == COUNTED and was is not None:
            old = change_of(was.trip)
            if self._is_past(old, stamp):
                state.counted = FIXED
                return ()
            changes.append(taken_out(old))
        new = change_of(trip) if countable(trip) else None
        if new is None or self._is_past(new, stamp):
            state.counted = LEFT_OUT
        else:
            state.counted = COUNTED
            changes.append(new)
        return tuple(changes)

    def _is_past(self, change: Change, stamp: int) -> bool:
        return change[1] < stamp - self._windows

    def expire(self, state: TripState) -> tuple[TripState | None, Outcome | None]:
        """The deadline of a trip has passed: an open one becomes incomplete, a closed one is forgotten."""
        return self.close(state) if state.status == OPEN else (None, None)

    def close(self, state: TripState) -> tuple[TripState | None, Outcome | None]:
        """Make an open trip an incomplete one, remembered whole so that it can still be completed."""
        if state.status != OPEN:
            return state, None
        state.status = INCOMPLETE
        state.revision += 1
        assert state.deadline is not None
        state.deadline += self._incomplete  # from the deadline, not from when it was noticed: that may vary
        return state, Outcome(_moved(OPEN, INCOMPLETE, state.size, -1), _result(state))

    @staticmethod
    def dump(state: TripState) -> bytes:
        """The state as plain values in MessagePack: about 380 bytes. Its deadline is kept beside it."""
        events: Sequence[Any] = state.events
        rows = [event and msgspec.structs.astuple(event) for event in events]
        trip_key = next(row[_KEY] for row in rows if row)
        return _pack(
            (
                state.status,
                state.revision,
                trip_key,
                [row and (*row[:_KEY], *row[_KEY + 1 :]) for row in rows],
                state.counted,
            )
        )

    @staticmethod
    def forgets(data: bytes) -> bool:
        """Whether nothing is left of a dumped state when it expires: so it is with closed trips."""
        return data[1] != OPEN  # the first item of the array, a small number

    @staticmethod
    def load(data: bytes) -> TripState:
        """The state that `dump` made these bytes of, in this version or an older one."""
        status, revision, trip_key, rows, counted = msgspec.structs.astuple(_unpack(data))
        events: list[Any] = [
            row and cls.struct(*row[:_KEY], trip_key, *row[_KEY:]) for cls, row in zip(EVENT_CLASSES, rows, strict=True)
        ]
        return TripState(None, status, revision, events, counted)


_KEY = 1
"""Position of `trip_key` in an event: the same in all of a trip, so it is kept once."""


def _row_type(struct: type[msgspec.Struct]) -> Any:
    types = [field.type for field in msgspec.structs.fields(struct) if field.name != "trip_key"]
    return tuple[tuple(types)] | None  # type: ignore[misc]


_pack = msgspec.msgpack.Encoder().encode
_unpack: Callable[[bytes], Any] = msgspec.msgpack.Decoder(
    msgspec.defstruct(
        "_Kept",
        [
            ("status", int),
            ("revision", int),
            ("trip_key", str),
            ("events", tuple[tuple(_row_type(cls.struct) for cls in EVENT_CLASSES)]),  # type: ignore[misc]
            ("counted", int, UNCOUNTED),  # not in version 1, when there were no windows
        ],
        array_like=True,
    )
).decode
assert all(cls.struct.__struct_fields__[_KEY] == "trip_key" for cls in EVENT_CLASSES)


@cache
def _moved(before: int, now: int, size: int, joined: int) -> Tally:
    """The change of the account when a trip of so many events goes from one status to another, or stays what it is.

    `joined` is 1 where one of the events is new to it, 0 where one took another's place, -1 where none has come.
    """
    superseded: Tally = (("superseded", 1),) if joined == 0 else ()
    new = max(joined, 0)
    if before == now:
        return (*superseded, (f"events_in_{_NAMES[now]}", new))
    return (
        *superseded,
        (f"{_NAMES[before]}_trips", -1),
        (f"events_in_{_NAMES[before]}", new - size),
        (f"{_NAMES[now]}_trips", 1),
        (f"events_in_{_NAMES[now]}", size),
    )


_CARRIED = tuple(tuple(name for name in cls.struct.__struct_fields__ if name in TRIP_FIELDS) for cls in EVENT_CLASSES)
_OF: tuple[Callable[[Any], Sequence[Any]], ...] = tuple(attrgetter(*names) for names in _CARRIED)
_SUPPLIED = [name for kind in _NEEDED for name in _CARRIED[kind]]
_IN_ORDER = itemgetter(*(_SUPPLIED.index(name) for name in TRIP_FIELDS))
_PICKUP, _DROPOFF = TRIP_FIELDS.index("pickup_ts"), TRIP_FIELDS.index("dropoff_ts")
_DISTANCE = TRIP_FIELDS.index("trip_distance")
assert (*CompleteTrip.model_fields,) == ("trip_key", *TRIP_FIELDS, *DERIVED_FIELDS, "revision")


def _result(state: TripState) -> Result:
    events = state.events
    if state.is_complete:
        values = list(
            _IN_ORDER((*_OF[STARTED](events[STARTED]), *_OF[PAYMENT](events[PAYMENT]), *_OF[ENDED](events[ENDED])))
        )
        values[_PICKUP], values[_DROPOFF] = utc(values[_PICKUP]), utc(values[_DROPOFF])
        extra = derived(values[_DISTANCE], values[_PICKUP], values[_DROPOFF])
        missing: tuple[str, ...] = ()
    else:
        known: dict[str, Any] = {}
        for kind in (_EXITED, _ENTERED, *_NEEDED):  # where two say the same, what a complete trip takes counts
            if events[kind] is not None:
                known |= {name: getattr(events[kind], name) for name in _CARRIED[kind]}
        values = [known.get(name) for name in TRIP_FIELDS]
        extra = (None, None, None)
        missing = tuple(name for name, event in zip(EVENT_TYPES, events, strict=True) if event is None)
    key = next(event.trip_key for event in events if event is not None)
    return Result(CompleteTripStruct(key, *values, *extra, state.revision), missing)
