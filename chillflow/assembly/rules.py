"""The rules of assembly: `assemble(state, event, watermark) -> (state, outcome)`. Pure: no clock, no I/O.

A trip is complete when all its needed events are there; zone events only repeat what those say. `precedence` decides
which of two events of one type counts, so the order of arrival does not matter. Every event is counted once (see
`ACCOUNT`): under the status of its trip, or as a duplicate, superseded, late or a dead letter.
"""

from __future__ import annotations

from datetime import timedelta

from chillflow.assembly.precedence import precedence
from chillflow.assembly.tallies import joined_tally, moved_tally, opened_tally
from chillflow.assembly.trip_building import complete_trip, incomplete_result
from chillflow.assembly.trip_state import (
    ALL,
    COMPLETE,
    COUNTED,
    EXCLUDED,
    FIXED,
    INCOMPLETE,
    NEEDED,
    OPEN,
    SIZES,
    UNCOUNTED,
    Result,
    TripState,
)
from chillflow.keyed.outcomes import Outcome, Transition
from chillflow.keyed.slots import Slots
from chillflow.model.codec import KINDS, STRUCTS
from chillflow.model.events import EVENT_CLASSES, DecodedEvent
from chillflow.model.measures import Change, change_of, taken_out
from chillflow.model.trips import TripValues, milliseconds

__all__ = ["Assembly"]

_LATE: Outcome[Result] = Outcome((("late", 1),), late=True)
_DUPLICATE: Outcome[Result] = Outcome((("duplicates", 1),), unchanged=True)
_SUPERSEDED: Outcome[Result] = Outcome((("superseded", 1),), unchanged=True)
_TAKES_OVER: Outcome[Result] = Outcome((("superseded", 1),))
_OPENED: Outcome[Result] = Outcome(opened_tally(1))
_JOINED: tuple[Outcome[Result], ...] = tuple(Outcome(joined_tally(status)) for status in (OPEN, INCOMPLETE, COMPLETE))
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
        return Slots(STRUCTS, NEEDED, self.open, self._completed, opened_tally(1), joined_tally(OPEN))

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
        if state.status == OPEN:
            state.vacant &= ~(1 << kind)
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

    def _completed(
        self, state: TripState, watermark: int, joined: int = 1, last_incomplete: Result | None = None
    ) -> Outcome[Result]:
        """Complete a trip, or make a new revision of a complete one; `joined` is the number of its new events."""
        before, old, events = state.status, state.trip, state.events
        size = SIZES[state.vacant] if before == OPEN else state.size
        state.status, state.vacant = COMPLETE, 0
        state.revision += 1
        state.trip = trip = complete_trip(events, state.revision)
        tally = moved_tally(before, COMPLETE, size, joined)
        was_excluded = state.counted in _LAST_REVISION_EXCLUDED
        changes = self._window_changes(state, old, trip, watermark)
        if was_excluded != (state.counted in _LAST_REVISION_EXCLUDED):
            tally += (("left_out_trips", -1 if was_excluded else 1),)
        dropoff = changes[-1][1] if state.counted == COUNTED else milliseconds(trip.dropoff_ts)
        latest = max([event.event_time for event in events if event is not None])
        last = dropoff if latest == trip.dropoff_ts else milliseconds(latest)
        state.deadline = (last if last > watermark else watermark) + self._correction
        return Outcome(tally, Result(trip, (), last_incomplete, dropoff, changes), pack=size == len(EVENT_CLASSES))

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
        state.status, state.vacant = INCOMPLETE, 0
        state.revision += 1
        assert state.deadline is not None
        state.deadline += self._incomplete  # not from the watermark at this call, which may vary
        return state, Outcome(moved_tally(OPEN, INCOMPLETE, state.size, -1), incomplete_result(state))
