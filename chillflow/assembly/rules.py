"""The rules of assembly: `assemble(state, event, watermark) -> (state, outcome)`. Pure: no clock, no I/O.

A trip is complete when all its needed events are there; zone events only repeat what those say. `precedence` decides
which of two events of one type counts, so the order of arrival does not matter. Every event is counted once (see
`ACCOUNT`): under the status of its trip, or as a duplicate, superseded, late or a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any

from chillflow.assembly.precedence import precedence
from chillflow.assembly.state_codec import pack_complete
from chillflow.assembly.tallies import joined_tally, moved_tally, opened_tally
from chillflow.assembly.trip_building import build_trip, complete_trip, incomplete_result
from chillflow.assembly.trip_state import (
    COMPLETE,
    COUNTED,
    EXCLUDED,
    FIXED,
    INCOMPLETE,
    NEEDED,
    OPEN,
    UNCOUNTED,
    Result,
    TripState,
)
from chillflow.keyed.group import Stretch
from chillflow.keyed.outcomes import Outcome, Transition
from chillflow.model.codec import KINDS, STRUCTS
from chillflow.model.events import (
    EVENT_CLASSES,
    PICKUP_EVENTS,
    DecodedEvent,
    PaymentProcessedEvent,
    TripEndedEvent,
    TripStartedEvent,
    ZoneEnteredEvent,
    ZoneExitedEvent,
)
from chillflow.model.measures import Change, change_of, taken_out
from chillflow.model.trips import TripValues, derived, milliseconds

__all__ = ["Assembly"]

_LATE: Outcome[Result] = Outcome((("late", 1),), late=True)
_DUPLICATE: Outcome[Result] = Outcome((("duplicates", 1),), unchanged=True)
_SUPERSEDED: Outcome[Result] = Outcome((("superseded", 1),), unchanged=True)
_TAKES_OVER: Outcome[Result] = Outcome((("superseded", 1),))
_OPENED: Outcome[Result] = Outcome(opened_tally(1))
_JOINED: tuple[Outcome[Result], ...] = tuple(Outcome(joined_tally(status)) for status in (OPEN, INCOMPLETE, COMPLETE))
_LAST_REVISION_EXCLUDED = (EXCLUDED, FIXED)
_SHORTCUT_TYPES: tuple[Any, ...] = tuple(  # Any, like the events that these are compared with
    cls.struct for cls in (TripStartedEvent, ZoneExitedEvent, ZoneEnteredEvent, PaymentProcessedEvent, TripEndedEvent)
)
_Started, _Exited, _Entered, _Paid, _Ended = _SHORTCUT_TYPES


class Assembly:
    """The rules of assembly for given timeouts; `settings` says what each means.

    A trip is excluded from windows if, when it completes, its drop-off is further behind the watermark than the longest
    trip and the longest window together: its windows may have been dropped. For the same reason a revision changes no
    window if the measures it would subtract lie that far back. This too depends on the log alone.
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
        self._window_horizon = self._timeout + self._incomplete + longest
        self.event_counts = [0] * len(EVENT_CLASSES)
        """By kind, the number of events assembled so far."""

    def assemble(
        self, state: TripState | None, event: DecodedEvent, watermark: int
    ) -> tuple[TripState | None, Outcome[Result]]:
        """Add one event, read at `watermark` (ms), to its trip.

        The timeout of a trip runs from the watermark at its first event, or from the event time if that is ahead: after
        a gap in the log the watermark stays behind until the 20th message, and then jumps.
        """
        kind = KINDS[type(event)]
        self.event_counts[kind] += 1
        if state is None:
            time = milliseconds(event.event_time)
            if time < watermark - self._correction:
                return None, _LATE
            events: list[DecodedEvent | None] = [None] * len(STRUCTS)
            events[kind] = event
            return TripState((time if time > watermark else watermark) + self._timeout, OPEN, 0, events), _OPENED
        events = state.events
        current = events[kind]
        if current is not None:
            match precedence(event, current):
                case "duplicate":
                    return state, _DUPLICATE
                case "superseded":
                    return state, _SUPERSEDED
        joined = 1 if current is None else 0
        if state.status == INCOMPLETE:
            return self._add_to_incomplete(state, kind, event, watermark, joined)
        events[kind] = event
        if state.is_complete if state.status == OPEN else kind in NEEDED:
            return state, self._completed(state, watermark, joined)
        return state, _JOINED[state.status] if joined else _TAKES_OVER

    def _add_to_incomplete(
        self, state: TripState, kind: int, event: DecodedEvent, watermark: int, joined: int
    ) -> tuple[TripState, Outcome[Result]]:
        """Add an event to an incomplete trip, which makes a new revision."""
        last_incomplete = incomplete_result(state)
        state.events[kind] = event
        if state.is_complete:
            return state, self._completed(state, watermark, joined, last_incomplete)
        state.revision += 1
        return state, Outcome(moved_tally(INCOMPLETE, INCOMPLETE, state.size, joined), incomplete_result(state))

    @property
    def shortcut(self) -> Callable[[Stretch[TripState, DecodedEvent, Result], int], int] | None:
        """The shortcut for `stateful_map`; None if there are event types that it does not know."""
        return self._shortcut if _SHORTCUT_TYPES == STRUCTS else None

    def _shortcut(self, stretch: Stretch[TripState, DecodedEvent, Result], start: int) -> int:
        """Assemble events from `start` on in one loop; returns the index of the first event that does not fit.

        It takes trips as our own producers send them: both events of a pickup together, then all three of a drop-off.
        That costs a key group 3 µs an event instead of 8. Times other than the trip's own two are compared and never
        emitted, so their UTC offset does not matter. Attributes are read from variables of one type each, which takes
        Python 3.11 a tenth of the time.
        """
        keys: Any = stretch.keys  # Any: a check of `type(event)` does not narrow its type
        events: Any = stretch.events
        watermarks, live, results = stretch.watermarks, stretch.live, stretch.results
        packed_open, packed_closed, stop = stretch.packed_open, stretch.packed_closed, stretch.stop
        new, ended_here = stretch.opened, stretch.ended
        timeout, correction, window_horizon = self._timeout, self._correction, self._window_horizon
        at, opened, completed = start, 0, 0
        last = watermarks[stop - 1] if stop > start else 0
        while at < stop:
            event, key, watermark = events[at], keys[at], watermarks[at]
            kind = type(event)
            if kind is _Started and at + 2 <= stop and keys[at + 1] == key:
                exited = events[at + 1]
                if type(exited) is not _Exited or key in live:
                    break
                if key in packed_open or key in packed_closed or key in ended_here:
                    break
                name = event.trip_key
                if name.encode() != key or name != exited.trip_key or event.pickup_ts.tzinfo is not UTC:
                    break
                time = milliseconds(event.event_time)
                deadline = (time if time > watermark else watermark) + timeout
                if time < watermark - correction or deadline < last:
                    break
                live[key] = TripState(deadline, OPEN, 0, [event, exited, None, None, None])
                new[key] = deadline
                opened += 1
                at += 2
            elif kind is _Entered and at + 3 <= stop and keys[at + 1] == key == keys[at + 2]:
                state, payment, ended = live.get(key) or stretch.unpack(key), events[at + 1], events[at + 2]
                if state is None or state.status != OPEN or type(payment) is not _Paid or type(ended) is not _Ended:
                    break
                kept: Any = state.events
                started, exited, third, fourth, fifth = kept
                if started is None or exited is None or not (third is fourth is fifth is None):
                    break
                pickup, dropoff = started.pickup_ts, ended.dropoff_ts
                if (
                    not (started.trip_key == event.trip_key == payment.trip_key == ended.trip_key)
                    or dropoff.tzinfo is not UTC
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
                trip = build_trip(started, payment, ended, derived(ended.trip_distance, pickup, dropoff), 1)
                change, watermark = change_of(trip), watermarks[at + 2]
                if change is None or change[1] < watermark - window_horizon:
                    break
                results.append(Result(trip, (), None, change[1], (change,)))
                ids = started.event_id, exited.event_id, event.event_id, payment.event_id, ended.event_id
                ended_here[key] = (
                    (change[1] if change[1] > watermark else watermark) + correction,
                    pack_complete(COUNTED, trip, ids),
                )
                del live[key]
                if new.pop(key, None) is None:
                    stretch.remove_deadline(state.deadline or 0, key)  # an open trip has one
                completed += 1
                at += 3
            else:
                break
        for number in range(len(EVENT_CLASSES)):
            self.event_counts[number] += opened if number < PICKUP_EVENTS else completed
        stretch.count(opened_tally(PICKUP_EVENTS), opened)
        stretch.count(moved_tally(OPEN, COMPLETE, len(EVENT_CLASSES), len(EVENT_CLASSES) - PICKUP_EVENTS), completed)
        return at

    def _completed(
        self, state: TripState, watermark: int, joined: int, last_incomplete: Result | None = None
    ) -> Outcome[Result]:
        """Complete a trip, or make a new revision of a complete one; `joined` is the number of its new events."""
        before, old, size = state.status, state.trip, state.size
        state.status = COMPLETE
        state.revision += 1
        state.trip = trip = complete_trip(state)
        tally = moved_tally(before, COMPLETE, size, joined)
        was_excluded = state.counted in _LAST_REVISION_EXCLUDED
        changes = self._window_changes(state, old, trip, watermark)
        if was_excluded != (state.counted in _LAST_REVISION_EXCLUDED):
            tally += (("left_out_trips", -1 if was_excluded else 1),)
        state.deadline = max(milliseconds(state.latest), watermark) + self._correction
        result = Result(trip, (), last_incomplete, milliseconds(trip.dropoff_ts), changes)
        return Outcome(tally, result, pack=size == len(EVENT_CLASSES))

    def _window_changes(
        self, state: TripState, previous: TripValues | None, trip: TripValues, watermark: int
    ) -> tuple[Change, ...]:
        """The changes to windows when `trip` replaces its previous revision; updates `state.counted`."""
        past = watermark - self._window_horizon
        if state.counted == UNCOUNTED and (new := change_of(trip)) is not None and new[1] >= past:  # nearly always
            state.counted = COUNTED
            return (new,)
        out: tuple[Change, ...] = ()
        if state.counted == FIXED:
            return ()
        if state.counted == COUNTED and previous is not None and (old := change_of(previous)) is not None:
            if old[1] < past:
                state.counted = FIXED
                return ()
            out = (taken_out(old),)
        new = change_of(trip)
        if new is None or new[1] < past:
            state.counted = EXCLUDED
            return out
        state.counted = COUNTED
        return (*out, new) if out else (new,)

    def expire(self, state: TripState) -> Transition[TripState, Result]:
        """Expire a trip: an open one becomes incomplete, a closed one is dropped."""
        return self.close(state) if state.status == OPEN else (None, None)

    def close(self, state: TripState) -> Transition[TripState, Result]:
        """Make an open trip incomplete. Its state is kept, because missing events can still complete it."""
        if state.status != OPEN:
            return state, None
        state.status = INCOMPLETE
        state.revision += 1
        assert state.deadline is not None
        state.deadline += self._incomplete  # not from the watermark at this call, which may vary
        return state, Outcome(moved_tally(OPEN, INCOMPLETE, state.size, -1), incomplete_result(state))
