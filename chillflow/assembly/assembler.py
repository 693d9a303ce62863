"""TripAssembler, the Python API of assembly: events in, trips out, without Kafka or Bytewax. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from chillflow.assembly.rules import Assembly
from chillflow.assembly.tallies import ACCOUNT
from chillflow.assembly.trip_state import Result, TripState
from chillflow.keyed.outcomes import Outcome
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.model.events import TripEvent
from chillflow.model.structs import as_dict
from chillflow.model.trips import CompleteTrip, IncompleteTrip, TripValues

__all__ = ["TripAssembler"]


_NO_LIMIT = timedelta.max / 2


class TripAssembler:
    """Assembles trips from events in any order, with duplicates and corrections.

    There is no watermark: a trip stays open until it is complete or `close` is called.
    """

    def __init__(self) -> None:
        self._assembly = Assembly(_NO_LIMIT, _NO_LIMIT, _NO_LIMIT)
        self._states: dict[str, TripState] = {}
        self._account: Counter[str] = Counter()

    @property
    def account(self) -> Mapping[str, int]:
        """The account so far, with the terms of `assemble --json`."""
        return {name: self._account[name] for name in ACCOUNT}

    def add(self, event: TripEvent) -> CompleteTrip | None:
        """Add one event, and return the trip if the event completes or changes it."""
        self._account["events"] += 1
        before = self._states.get(event.trip_key)
        state, outcome = self._assembly.assemble(before, event.to_struct(), NO_WATERMARK)
        assert state is not None, "without a watermark nothing is late"
        self._states[event.trip_key] = state
        result = self._count(outcome)
        return _model(result.trip) if result and not result.missing else None

    def assemble(self, events: Iterable[TripEvent]) -> Iterator[CompleteTrip]:
        """Yield each trip when it becomes complete, and again as a new revision when it is corrected."""
        for event in events:
            trip = self.add(event)
            if trip is not None:
                yield trip

    def close(self) -> list[IncompleteTrip]:
        """Close the open trips, and return each with its known fields and its missing events."""
        closed = [self._count(self._assembly.close(state)[1]) for state in self._states.values()]
        return [_incomplete(result) for result in closed if result]

    def _count(self, outcome: Outcome[Result] | None) -> Result | None:
        if outcome is None:
            return None
        for name, change in outcome.tally:
            self._account[name] += change
        return outcome.result


def _model(struct: TripValues) -> CompleteTrip:
    return CompleteTrip.model_validate(as_dict(struct))


def _incomplete(result: Result) -> IncompleteTrip:
    values = as_dict(result.trip)
    known = {name: value for name, value in values.items() if value is not None}
    key, revision = known.pop("trip_key"), known.pop("revision")
    return IncompleteTrip(trip_key=key, missing=result.missing, fields=known, revision=revision)
