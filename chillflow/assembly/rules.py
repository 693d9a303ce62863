"""Events -> trips: `assemble(state, event) -> (state, outcome)`. Pure: no clock, no I/O.

A trip is complete when its start, its end and its payment are there; the zone events repeat what those say.
Of two events of one type the higher (`event_version`, `event_id`) counts, whatever the order of arrival. Every
event is counted once, under what its trip is now or as what it is itself: see `ACCOUNT`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any, cast

import msgspec
from msgspec.structs import astuple

from chillflow.keyed.group import Stretch
from chillflow.keyed.outcomes import Outcome, Tally
from chillflow.model.codec import KINDS, STRUCTS, CompleteTripStruct
from chillflow.model.events import EVENT_CLASSES, EVENT_TYPES, PICKUP_EVENTS, SCHEMA_VERSION, DecodedEvent
from chillflow.model.measures import Change, change_of, taken_out
from chillflow.model.structs import StructClass, fields_of
from chillflow.model.trips import DERIVED_FIELDS, TRIP_FIELDS, CompleteTrip, derived, milliseconds

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


class Result(msgspec.Struct, frozen=True, gc=False):
    """A trip as it now stands."""

    trip: Any
    """A `CompleteTripStruct`; of an incomplete trip what is known is filled in, the rest is None."""
    missing: tuple[str, ...]
    """Event types that have not come, of an incomplete trip; empty for a complete one."""
    was: Result | None = None
    """Of a trip just completed after all: what it was when it was last incomplete."""
    at: int | None = None
    """Of a complete trip, its drop-off in ms."""
    changes: tuple[Change, ...] = ()
    """What it changes in the windows: the figures of its last revision go out, those of this one come in."""


class TripState(msgspec.Struct, gc=False):
    """What is kept of a trip: its events by kind, what it is, and how it stands in the windows."""

    deadline: int | None
    status: int
    revision: int
    events: list[Any]
    """A DecodedEvent or None, for each of the five."""
    counted: int = UNCOUNTED
    trip: Any = None
    """Of a complete one, the trip as it was last sent."""

    @property
    def is_complete(self) -> bool:
        """Whether the start, the end and the payment are there."""
        events = self.events
        return events[STARTED] is not None and events[PAYMENT] is not None and events[ENDED] is not None

    @property
    def latest(self) -> datetime:
        """When the last of its events happened."""
        latest: datetime = max(event.event_time for event in self.events if event is not None)
        return latest

    @property
    def size(self) -> int:
        """How many events are held."""
        return len(self.events) - self.events.count(None)


_LATE: Outcome[Result] = Outcome((("late", 1),), late=True)
_DUPLICATE: Outcome[Result] = Outcome((("duplicates", 1),), unchanged=True)
_SUPERSEDED: Outcome[Result] = Outcome((("superseded", 1),), unchanged=True)
_TAKES_OVER: Outcome[Result] = Outcome((("superseded", 1),))
_OPENED: tuple[Outcome[Result], ...] = tuple(
    Outcome((("open_trips", 1), ("events_in_open", count))) for count in range(1 + len(EVENT_CLASSES))
)
_NOT_IN = (LEFT_OUT, FIXED)
_JOINED: tuple[Outcome[Result], ...] = tuple(Outcome(((f"events_in_{name}", 1),)) for name in _NAMES)
_Started, _Exited, _Entered, _Paid, _Ended = cast("Sequence[Any]", STRUCTS)
_utc = UTC


class Assembly:
    """The rules of assembly for given time-outs; see `settings` for their meaning.

    A complete trip is left out of the windows if its drop-off is further behind the watermark of its completion than
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

    def assemble(
        self, state: TripState | None, event: DecodedEvent, watermark: int
    ) -> tuple[TripState | None, Outcome[Result]]:
        """Take in one event of a trip, read at stream time `watermark` (ms).

        A trip's time runs from its first event's watermark, or from that event's own time where the stream is
        behind it: after a gap in the log the stream time follows only with the 20th message, and then jumps.
        """
        kind = KINDS[type(event)]
        self.taken[kind] += 1
        if state is None:
            time = milliseconds(event.event_time)
            if time < watermark - self._correction:
                return None, _LATE
            events: list[DecodedEvent | None] = [None, None, None, None, None]
            events[kind] = event
            return TripState((time if time > watermark else watermark) + self._timeout, OPEN, 0, events), _OPENED[1]
        events = state.events
        held = events[kind]
        if held is not None:
            if held.event_id == event.event_id:
                return state, _DUPLICATE
            if (event.event_version, event.event_id) < (held.event_version, held.event_id):
                return state, _SUPERSEDED
        joined = 1 if held is None else 0
        if state.status == OPEN:
            events[kind] = event
            if not state.is_complete:
                return state, _JOINED[OPEN] if joined else _TAKES_OVER
            return state, self._completed(state, watermark, joined)
        if state.status == COMPLETE:
            events[kind] = event
            if kind not in _NEEDED:  # says nothing that is not known already
                return state, _JOINED[COMPLETE] if joined else _TAKES_OVER
            return state, self._completed(state, watermark, joined)
        was = _incomplete(state)
        events[kind] = event
        if state.is_complete:
            return state, self._completed(state, watermark, joined, was)
        state.revision += 1
        return state, Outcome(_moved(INCOMPLETE, INCOMPLETE, state.size, joined), _incomplete(state))

    def shortcut(self, stretch: Stretch[TripState, DecodedEvent, Result], start: int) -> int:
        """Take in the trips of our own producers in one loop, up to the first event that does not fit.

        They send both events of a pickup and then all three of a drop-off: so a key group takes 3 µs an event,
        instead of 8.

        The events are as `decode_all` made them. Times other than the trip's own two are compared and never sent on, so
        their offset does not matter. Attributes are read where a variable has one type only: there Python 3.11 takes a
        tenth of the time.
        """
        keys: Any = stretch.keys
        events: Any = stretch.events
        watermarks, states, results = stretch.watermarks, stretch.states, stretch.results
        waiting, remembered, stop = stretch.waiting, stretch.remembered, stretch.stop
        new, over, done = stretch.opened, stretch.ended, stretch.done
        timeout, correction, windows = self._timeout, self._correction, self._windows
        at, opened, completed = start, 0, 0
        last = watermarks[stop - 1] if stop > start else 0
        while at < stop:
            event, key, watermark = events[at], keys[at], watermarks[at]
            kind = type(event)
            if kind is _Started and at + 2 <= stop and keys[at + 1] == key:
                exited = events[at + 1]
                if type(exited) is not _Exited or key in states or key in waiting or key in remembered or key in over:
                    break
                name = event.trip_key
                if name.encode() != key or name != exited.trip_key or event.pickup_ts.tzinfo is not _utc:
                    break
                time = milliseconds(event.event_time)
                deadline = (time if time > watermark else watermark) + timeout
                if time < watermark - correction or deadline < last:
                    break
                states[key] = TripState(deadline, OPEN, 0, [event, exited, None, None, None])
                new[key] = deadline
                opened += 1
                at += 2
            elif kind is _Entered and at + 3 <= stop and keys[at + 1] == key == keys[at + 2]:
                state, payment, ended = states.get(key) or stretch.wake(key), events[at + 1], events[at + 2]
                if state is None or state.status != OPEN or type(payment) is not _Paid or type(ended) is not _Ended:
                    break
                started, exited, third, fourth, fifth = state.events
                if started is None or exited is None or not (third is fourth is fifth is None):
                    break
                pickup, dropoff = started.pickup_ts, ended.dropoff_ts
                if (
                    not (started.trip_key == event.trip_key == payment.trip_key == ended.trip_key)
                    or dropoff.tzinfo is not _utc
                    or ended.extra_columns is not None
                    or not (pickup == started.event_time == exited.event_time)
                    or not (pickup <= dropoff == ended.event_time == payment.event_time == event.event_time)
                    or started.event_version
                    or exited.event_version
                    or event.event_version
                    or payment.event_version
                    or ended.event_version
                ):
                    break
                trip = _trip(started, payment, ended, derived(ended.trip_distance, pickup, dropoff), 1)
                change, watermark = change_of(trip), watermarks[at + 2]
                if change is None or change[1] < watermark - windows:
                    break
                results.append(Result(trip, (), None, change[1], (change,)))
                ids = started.event_id, exited.event_id, event.event_id, payment.event_id, ended.event_id
                over[key] = (
                    (change[1] if change[1] > watermark else watermark) + correction,
                    _pack((COMPLETE, COUNTED, astuple(trip), *ids)),
                )
                del states[key]
                if new.pop(key, None) is None:
                    done(state.deadline or 0, key)  # which an open trip has
                completed += 1
                at += 3
            else:
                break
        for number in range(len(EVENT_CLASSES)):
            self.taken[number] += opened if number < PICKUP_EVENTS else completed
        stretch.count(_OPENED[PICKUP_EVENTS].tally, opened)
        stretch.count(_moved(OPEN, COMPLETE, len(EVENT_CLASSES), len(EVENT_CLASSES) - PICKUP_EVENTS), completed)
        return at

    def _completed(self, state: TripState, watermark: int, joined: int, was: Result | None = None) -> Outcome[Result]:
        """Make the trip complete, or, if it is already, take in how it has changed.

        `joined` is how many new events it has; `was` is what it was if it was incomplete before.
        """
        before, old, size = state.status, state.trip, state.size
        started, _, _, payment, ended = state.events
        state.status = COMPLETE
        state.revision += 1
        figures = derived(ended.trip_distance, started.pickup_ts, ended.dropoff_ts)
        state.trip = trip = _trip(started, payment, ended, figures, state.revision)
        tally = _moved(before, COMPLETE, size, joined)
        left_out = state.counted in _NOT_IN
        changes = self._count(state, old, trip, watermark)
        if left_out != (state.counted in _NOT_IN):
            tally += (("left_out_trips", -1 if left_out else 1),)
        state.deadline = max(milliseconds(state.latest), watermark) + self._correction
        return Outcome(
            tally, Result(trip, (), was, milliseconds(trip.dropoff_ts), changes), pack=size == len(EVENT_CLASSES)
        )

    def _count(self, state: TripState, was: Any, trip: Any, watermark: int) -> tuple[Change, ...]:
        """Count the trip into the windows, as the revision it now is; `was` is its last one."""
        past = watermark - self._windows
        if state.counted == UNCOUNTED and (new := change_of(trip)) is not None and new[1] >= past:  # nearly always
            state.counted = COUNTED
            return (new,)
        out: tuple[Change, ...] = ()
        if state.counted == FIXED:
            return ()
        if state.counted == COUNTED and (old := change_of(was)) is not None:
            if old[1] < past:
                state.counted = FIXED
                return ()
            out = (taken_out(old),)
        new = change_of(trip)
        if new is None or new[1] < past:
            state.counted = LEFT_OUT
            return out
        state.counted = COUNTED
        return (*out, new) if out else (new,)

    def expire(self, state: TripState) -> tuple[TripState | None, Outcome[Result] | None]:
        """The deadline of a trip has passed: an open one becomes incomplete, a closed one is forgotten."""
        return self.close(state) if state.status == OPEN else (None, None)

    def close(self, state: TripState) -> tuple[TripState | None, Outcome[Result] | None]:
        """Make an open trip an incomplete one, remembered whole so that it can still be completed."""
        if state.status != OPEN:
            return state, None
        state.status = INCOMPLETE
        state.revision += 1
        assert state.deadline is not None
        state.deadline += self._incomplete  # from the deadline, not from when it was noticed: that may vary
        return state, Outcome(_moved(OPEN, INCOMPLETE, state.size, -1), _incomplete(state))

    @staticmethod
    def dump(state: TripState) -> bytes:
        """The state as plain values in MessagePack: about 400 bytes. Its deadline is kept beside it.

        Of a complete trip that is the trip and, of each event, what tells it from another one: its id alone if its time
        is the trip's and it is no correction.
        """
        events = state.events
        if state.status == COMPLETE:
            marks = [event and _mark(kind, event, state.trip) for kind, event in enumerate(events)]
            return _pack((COMPLETE, state.counted, astuple(state.trip), *marks))
        rows = [event and row(event) for row, event in zip(_ROWS, events, strict=True)]
        return _pack((state.status, state.revision, _key_of(events), rows, state.counted))

    @staticmethod
    def forgets(data: bytes) -> bool:
        """Whether nothing is left of a dumped state when it ends: so it is with closed trips."""
        return data[1] != OPEN  # the first item of the array, a small number

    @staticmethod
    def load(data: bytes) -> TripState:
        """The state that `dump` made these bytes of, in this version or an older one."""
        if data[0] == _COMPLETE_HEAD:
            status, counted, values, *marks = astuple(_unpack_complete(data))
            trip = CompleteTripStruct(*values)
            known = [mark and made(trip, mark) for made, mark in zip(_OF_TRIP, marks, strict=True)]
            return TripState(None, status, trip.revision, known, counted, trip)
        status, revision, trip_key, rows, counted = astuple(_unpack(data))
        events: list[Any] = [
            row and cls.struct(*row[:_KEY], trip_key, *row[_KEY:]) for cls, row in zip(EVENT_CLASSES, rows, strict=True)
        ]
        state = TripState(None, status, revision, events, counted)
        if status == COMPLETE:
            started, ended = events[STARTED], events[ENDED]
            figures = derived(ended.trip_distance, started.pickup_ts, ended.dropoff_ts)
            state.trip = _trip(started, events[PAYMENT], ended, figures, revision)
        return state


_KEY = 1
"""Position of `trip_key` in an event: the same in all of a trip, so it is kept once."""


def _row_fields(struct: StructClass[object]) -> list[Any]:
    return [field for field in fields_of(struct) if field.name != "trip_key"]


def _row_type(fields: Iterable[Any]) -> Any:
    return tuple[tuple(field.type for field in fields)]  # type: ignore[misc]


def _of_trip(kind: int) -> Callable[[Any, Any], Any]:
    """A function that makes an event of its trip and its mark.

    A zone event, of which the trip says nothing, repeats what the start or the end says: so it does here, whatever
    it said.
    """
    made: Callable[..., Any] = eval(  # noqa: S307 - our own names
        f"lambda trip, event_id, event_time, event_version: Event(event_id, trip.trip_key, event_time,"
        f" {SCHEMA_VERSION}, event_version, {', '.join(f'trip.{name}' for name in _CARRIED[kind])})",
        {"Event": EVENT_CLASSES[kind].struct},
    )
    return lambda trip, mark: made(trip, mark, _time(kind, trip), 0) if isinstance(mark, str) else made(trip, *mark)


def _mark(kind: int, event: DecodedEvent, trip: Any) -> Any:
    """What tells this event of the trip from another one of its type."""
    if event.event_time == _time(kind, trip) and event.event_version == 0:
        return event.event_id
    return event.event_id, event.event_time, event.event_version


def _time(kind: int, trip: Any) -> Any:
    """When an event of this type happens in a trip."""
    return trip.pickup_ts if kind < PICKUP_EVENTS else trip.dropoff_ts


def _key_of(events: Iterable[Any]) -> str:
    for event in events:
        if event is not None:
            return str(event.trip_key)
    raise AssertionError("a state holds an event")


_CARRIED = tuple(tuple(name for name in cls.struct.__struct_fields__ if name in TRIP_FIELDS) for cls in EVENT_CLASSES)
_ROWS = [attrgetter(*(field.name for field in _row_fields(cls.struct))) for cls in EVENT_CLASSES]
_OF_TRIP = tuple(map(_of_trip, range(len(EVENT_CLASSES))))

_pack = msgspec.msgpack.Encoder().encode
_unpack: Callable[[bytes], Any] = msgspec.msgpack.Decoder(
    msgspec.defstruct(
        "_Kept",
        [
            ("status", int),
            ("revision", int),
            ("trip_key", str),
            ("events", tuple[tuple(_row_type(_row_fields(cls.struct)) | None for cls in EVENT_CLASSES)]),  # type: ignore[misc]
            ("counted", int, UNCOUNTED),  # not in version 1, when there were no windows
        ],
        array_like=True,
    )
).decode
_unpack_complete: Callable[[bytes], Any] = msgspec.msgpack.Decoder(
    msgspec.defstruct(
        "_KeptComplete",
        [
            ("status", int),
            ("counted", int),
            ("trip", _row_type(fields_of(CompleteTripStruct))),
            *((name, tuple[str, datetime, int] | str | None) for name in EVENT_TYPES),
        ],
        array_like=True,
    )
).decode
_COMPLETE_HEAD = 0x90 + 3 + len(EVENT_CLASSES)
"""The first byte of an array of so many values: other states have fewer."""
assert all(cls.struct.__struct_fields__[_KEY] == "trip_key" for cls in EVENT_CLASSES)


@cache
def _moved(before: int, now: int, size: int, joined: int) -> Tally:
    """The change of the account when a trip of so many events goes from one status to another, or stays what it is.

    `joined` is how many of the events are new to it, 0 where one took another's place, -1 where none has come.
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


assert (*CompleteTrip.model_fields,) == ("trip_key", *TRIP_FIELDS, *DERIVED_FIELDS, "revision")
_SUPPLIER = {
    name: f"{event}.{name}"
    for kind, event in zip(_NEEDED, ("started", "payment", "ended"), strict=True)
    for name in _CARRIED[kind]
}
_trip: Callable[[Any, Any, Any, Sequence[Any], int], Any] = eval(  # noqa: S307 - our own names
    # Written out, as one would by hand, this takes a third of what collecting the fields by their names would.
    f"lambda started, payment, ended, extra, revision: Trip(started.trip_key,"
    f" {', '.join(_SUPPLIER[name] for name in TRIP_FIELDS)}, *extra, revision)",
    {"Trip": CompleteTripStruct},
)


def _incomplete(state: TripState) -> Result:
    """What is known of the trip, and what is missing."""
    events = state.events
    known: dict[str, Any] = {}
    for kind in (_EXITED, _ENTERED, *_NEEDED):  # where two say the same, what a complete trip takes counts
        if events[kind] is not None:
            known |= {name: getattr(events[kind], name) for name in _CARRIED[kind]}
    values = [known.get(name) for name in TRIP_FIELDS]
    missing = tuple(name for name, event in zip(EVENT_TYPES, events, strict=True) if event is None)
    return Result(CompleteTripStruct(_key_of(events), *values, None, None, None, state.revision), missing)
