"""The rules of assembly: `assemble(state, event, watermark) -> (state, outcome)`. Pure: no clock, no I/O.

A trip is complete when all its needed events are there; zone events only repeat what those say. `precedence` decides
which of two events of one type counts, so the order of arrival does not matter. Every event is counted once (see
`ACCOUNT`): under the status of its trip, or as a duplicate, superseded, late or a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import cast

import msgspec

from chillflow.assembly.precedence import precedence
from chillflow.assembly.tallies import completed_tally, joined_tally, opened_tally, timed_out_tally
from chillflow.assembly.trip_building import complete_trip, events_of, identity_of, incomplete_result, mark_of, marks_of
from chillflow.assembly.trip_state import (
    ALL,
    COMPLETE,
    COUNTED,
    EXCLUDED,
    FIXED,
    INCOMPLETE,
    NEEDED,
    OPEN,
    Result,
    TripState,
)
from chillflow.keyed.outcomes import Outcome, Tally, Transition
from chillflow.keyed.slots import Slots
from chillflow.model.codec import KINDS, STRUCTS
from chillflow.model.events import DecodedEvent
from chillflow.model.measures import Change, change_of, taken_out
from chillflow.model.trips import TripValues, milliseconds

__all__ = ["Assembly"]

_LATE: Outcome[Result] = Outcome((("late", 1),), late=True)
_DUPLICATE: Outcome[Result] = Outcome((("duplicates", 1),), unchanged=True)
_SUPERSEDED: Outcome[Result] = Outcome((("superseded", 1),), unchanged=True)
_event_time: Callable[[DecodedEvent], datetime] = attrgetter("event_time")
_SUPERSEDES: Tally = (("superseded", 1),)
_JOINED_COMPLETE = joined_tally(COMPLETE)
_OPENED: Outcome[Result] = Outcome(opened_tally(1))
_EXCLUDED: Tally = (("left_out_trips", 1),)
_INCLUDED: Tally = (("left_out_trips", -1),)
_LAST_REVISION_EXCLUDED = (EXCLUDED, FIXED)


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

    @property
    def slots(self) -> Slots[TripState, DecodedEvent, Result]:
        """The part of the rules that a key group applies itself: an event of an open trip that has none of its type."""
        return Slots(STRUCTS, NEEDED, self.open, self.complete, self._correction, opened_tally(1), joined_tally(OPEN))

    def open(self, event: DecodedEvent, watermark: int) -> TripState | None:
        """The state of the trip that this event opens; None if the event is late.

        The timeout of a trip runs from the watermark at its first event, or from the event time if that is ahead: after
        a gap in the log the watermark stays behind until the 20th message, and then jumps.
        """
        time = milliseconds(event.event_time)
        if time < watermark - self._correction:
            return None
        kind = KINDS[type(event)]
        events: list[DecodedEvent | None] = [None] * len(STRUCTS)
        events[kind] = event
        return TripState((time if time > watermark else watermark) + self._timeout, OPEN, 0, events, ALL ^ 1 << kind)

    def assemble(
        self, state: TripState | None, event: DecodedEvent, watermark: int
    ) -> tuple[TripState | None, Outcome[Result]]:
        """Add one event, read at `watermark` (ms), to its trip."""
        if state is None:
            opened = self.open(event, watermark)
            return opened, _LATE if opened is None else _OPENED
        kind = KINDS[type(event)]
        if state.status == COMPLETE:
            return state, self._add_to_complete(state, kind, event, watermark)
        current = state.events[kind]
        match precedence(event, current):
            case "duplicate":
                return state, _DUPLICATE
            case "superseded":
                return state, _SUPERSEDED
        joined = joined_tally(state.status) if current is None else _SUPERSEDES
        if state.status == INCOMPLETE:
            return state, self._add_to_incomplete(state, kind, event, watermark, joined)
        state.events[kind] = event
        state.vacant &= ~(1 << kind)
        if state.is_complete:
            return state, self._complete(state, watermark, joined)
        return state, Outcome(joined)

    def _add_to_incomplete(
        self, state: TripState, kind: int, event: DecodedEvent, watermark: int, joined: Tally
    ) -> Outcome[Result]:
        """Add an event to an incomplete trip, which makes a new revision."""
        last_incomplete = incomplete_result(state)
        state.events[kind] = event
        if state.is_complete:
            return self._complete(state, watermark, joined, last_incomplete)
        state.revision += 1
        return Outcome(joined, incomplete_result(state))

    def _complete(
        self, state: TripState, watermark: int, joined: Tally, last_incomplete: Result | None = None
    ) -> Outcome[Result]:
        """Complete a trip with an event that changes the account by `joined`."""
        (outcome,) = self.complete((state,), (watermark,))
        assert outcome.result is not None
        result = msgspec.structs.replace(outcome.result, last_incomplete=last_incomplete)
        return Outcome(joined + outcome.tally, result, pack=outcome.pack)

    def complete(self, states: Sequence[TripState], watermarks: Sequence[int]) -> list[Outcome[Result]]:
        """Complete open or incomplete trips that have all needed events, which are counted with them already."""
        outcomes = []
        for state, watermark in zip(states, watermarks, strict=True):
            events, before = state.events, state.status
            is_full = not state.vacant if before == OPEN else None not in events
            present = cast("list[DecodedEvent]", events) if is_full else [each for each in events if each is not None]
            state.status, state.vacant, state.revision = COMPLETE, 0, state.revision + 1
            state.trip = trip = complete_trip(events, state.revision)
            state.events, state.marks = [], marks_of(events, is_full=is_full)
            tally = completed_tally(before, len(present))
            change = self._change_of(trip, watermark)
            if change is None:
                state.counted = EXCLUDED
                result = Result(trip, (), None, milliseconds(trip.dropoff_ts))
                tally += _EXCLUDED
            else:
                state.counted = COUNTED
                result = Result(trip, (), None, change[1], (change,))
            state.deadline = self._kept_until(max(map(_event_time, present)), watermark)
            outcomes.append(Outcome(tally, result, False, is_full))
        return outcomes

    def _add_to_complete(self, state: TripState, kind: int, event: DecodedEvent, watermark: int) -> Outcome[Result]:
        """Add an event to a complete trip: one that a trip needs is a correction, and makes a new revision."""
        trip, mark = state.trip, state.marks[kind]
        assert trip is not None
        assert state.deadline is not None
        if mark is not None:
            match precedence(event, identity_of(mark)):
                case "duplicate":
                    return _DUPLICATE
                case "superseded":
                    return _SUPERSEDED
        state.marks[kind] = mark_of(event)
        is_full = None not in state.marks
        if kind not in NEEDED:
            state.deadline = max(state.deadline, milliseconds(event.event_time) + self._correction)
            return Outcome(_JOINED_COMPLETE if mark is None else _SUPERSEDES, pack=is_full)
        state.deadline = max(state.deadline, self._kept_until(event.event_time, watermark))
        events = events_of(trip, state.marks)
        events[kind] = event
        was_excluded = state.counted in _LAST_REVISION_EXCLUDED
        state.revision += 1
        state.trip = revised = complete_trip(events, state.revision)
        changes = self._window_changes(state, trip, revised, watermark)
        is_excluded = state.counted in _LAST_REVISION_EXCLUDED
        tally = _SUPERSEDES
        if was_excluded != is_excluded:
            tally += _EXCLUDED if is_excluded else _INCLUDED
        return Outcome(tally, Result(revised, (), None, milliseconds(revised.dropoff_ts), changes), pack=is_full)

    def _kept_until(self, event_time: datetime, watermark: int) -> int:
        """The deadline (ms) of a complete trip with an event of this time: until then, a repeat of it is not late."""
        time = milliseconds(event_time)
        return (time if time > watermark else watermark) + self._correction

    def _change_of(self, trip: TripValues, watermark: int) -> Change | None:
        """The change of a complete trip to its windows; None if the trip is excluded from them."""
        change = change_of(trip)
        return None if change is None or change[1] < watermark - self._window_horizon else change

    def _window_changes(
        self, state: TripState, previous: TripValues, trip: TripValues, watermark: int
    ) -> tuple[Change, ...]:
        """The changes to windows when `trip` replaces its previous revision; updates `state.counted`."""
        old = change_of(previous) if state.counted == COUNTED else None
        if state.counted == FIXED or (old is not None and old[1] < watermark - self._window_horizon):
            state.counted = FIXED
            return ()
        new = self._change_of(trip, watermark)
        state.counted = EXCLUDED if new is None else COUNTED
        return (*(() if old is None else (taken_out(old),)), *(() if new is None else (new,)))

    def expire(self, state: TripState) -> Transition[TripState, Result]:
        """Expire a trip: an open one becomes incomplete, a closed one is dropped."""
        return self.close(state) if state.status == OPEN else (None, None)

    def close(self, state: TripState) -> Transition[TripState, Result]:
        """Make an open trip incomplete. Its state is kept, because missing events can still complete it."""
        if state.status != OPEN:
            return state, None
        state.status, state.vacant = INCOMPLETE, 0
        state.revision += 1
        assert state.deadline is not None
        state.deadline += self._incomplete  # not from the watermark at this call, which may vary
        return state, Outcome(timed_out_tally(state.size), incomplete_result(state))
