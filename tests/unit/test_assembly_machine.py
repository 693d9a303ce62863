"""Assembly under anything that may happen to a log, step by step, against an independent model.

The model has no state: at each step it computes all results from the whole log. `CHILLFLOW_EXAMPLES` sets the number of
logs tried.
"""

from __future__ import annotations

import os
import pickle
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chillflow.assembly.account import difference
from chillflow.assembly.tallies import ACCOUNT
from chillflow.assembly.trip_state import Result
from chillflow.keyed.batches import GroupItem
from chillflow.keyed.outcomes import BatchOutcome
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.model.events import EVENT_TYPES, DecodedEvent, TripEvent
from chillflow.model.structs import as_dict
from chillflow.model.trips import CompleteTrip, derived, milliseconds
from chillflow.production.splitting import split
from tests.unit.vocabulary import (
    BEGINNING,
    DAY,
    HOUR,
    MINUTE,
    NOW,
    assembly,
    batch,
    contents,
    end_event,
    enter_event,
    exit_event,
    group,
    held,
    keyed,
    payment_event,
    records,
    start_event,
    trips,
)

EXAMPLES = int(os.environ.get("CHILLFLOW_EXAMPLES", "100"))
TIMEOUT, CORRECTION, INCOMPLETE = 25 * HOUR, 24 * HOUR, 8 * DAY
NEEDED = {"trip_started", "payment_processed", "trip_ended"}
FOR_EVER = 100 * DAY
MAKERS: tuple[tuple[Callable[..., TripEvent], str], ...] = (
    (start_event, "pu_zone_id"),
    (exit_event, "pu_zone_id"),
    (enter_event, "do_zone_id"),
    (payment_event, "total_amount"),
    (end_event, "do_zone_id"),
)
"""By kind: how to make an event, and a field in which two of them may differ."""

Fields = dict[str, Any]


class Entry(NamedTuple):
    """One input of a group."""

    watermark: int
    event: TripEvent | None = None
    """None: only the watermark."""
    is_end: bool = False
    """The log has ended for good, so that open trips are closed."""


class Model:
    """The results and the account of a log."""

    def __init__(self, log: list[Entry]) -> None:
        self.log = log
        self.account: Counter[str] = Counter()
        self.results: dict[str, list[Fields]] = {}
        self.late: list[int] = []
        self.trips = self.held = 0
        """The number of trips ever, and of those with a state."""
        places: defaultdict[str, list[int]] = defaultdict(list)
        for at, entry in enumerate(log):
            if entry.event is not None:
                places[entry.event.trip_key].append(at)
        for key, all_of_it in places.items():
            self._trip(key, all_of_it)

    def _trip(self, key: str, places: list[int]) -> None:
        while places:
            watermark, event = self._event(places[0])
            if milliseconds(event.event_time) < watermark - CORRECTION:
                self.late.append(places.pop(0))
            else:
                dropped_at = self._life(key, places)
                places = [at for at in places if at >= dropped_at]
        self.account["late"] = len(self.late)

    def _life(self, key: str, places: list[int]) -> int:
        """The life of the trip that the first of these events opens; the place where its state is dropped."""
        never = len(self.log)
        watermark, event = self._event(places[0])
        due = max(watermark, milliseconds(event.event_time)) + TIMEOUT
        closed = min(self._passed(due, places[0]), self._first(lambda entry: entry.is_end, places[0]))
        complete = next((at for at in places if self._known(places, at + 1).keys() >= NEEDED), never)
        news = [at for at in places if self._known(places, at) != self._known(places, at + 1)]
        revisions, status, dropped_at = list[int](), "open", never
        if closed < never and closed <= complete:
            dropped_at = self._passed(due + INCOMPLETE, closed)
            complete = complete if complete < dropped_at else never
            status = "incomplete"
            revisions = [closed, *(at + 1 for at in news if closed <= at < min(complete, dropped_at))]
        if complete < never:
            status = "complete"
            for at in [complete, *(at for at in news if at > complete)]:
                if at < dropped_at or at == complete:
                    watermark, event = self._event(at)
                    added = self._known(places, at + 1).values() if at == complete else [event]
                    watermarks = [watermark] if at == complete or event.event_type in NEEDED else []
                    until = max([*watermarks, *(milliseconds(each.event_time) for each in added)]) + CORRECTION
                    due = until if at == complete else max(due, until)
                    dropped_at = self._passed(due, at)
                    if event.event_type in NEEDED:
                        revisions.append(at + 1)
        self._count(status, [at for at in places if at < dropped_at], dropped_at)
        self.trips += 1
        self.held += dropped_at == never
        self.results.setdefault(key, []).extend(
            expected_fields(key, number, self._known(places, until)) for number, until in enumerate(revisions, 1)
        )
        return dropped_at

    def _count(self, status: str, places: list[int], dropped_at: int) -> None:
        before = ((self._known(places, at), self._event(at)[1]) for at in places)
        duplicates = sum(known.get(event.event_type) == event for known, event in before)
        events = len(self._known(places, dropped_at))
        self.account.update(
            {
                f"{status}_trips": 1,
                f"events_in_{status}": events,
                "duplicates": duplicates,
                "superseded": len(places) - duplicates - events,
            }
        )

    def _known(self, places: list[int], until: int) -> dict[str, TripEvent]:
        """By type, the event that counts before a place in the log."""
        seen = (self._event(at)[1] for at in places if at < until)
        return {event.event_type: event for event in sorted(seen, key=lambda each: (each.event_version, each.event_id))}

    def _event(self, at: int) -> tuple[int, TripEvent]:
        watermark, event, _ = self.log[at]
        assert event is not None
        return watermark, event

    def _passed(self, due: int, start: int) -> int:
        return self._first(lambda entry: entry.watermark > due, start)

    def _first(self, condition: Callable[[Entry], bool], start: int) -> int:
        return next((at for at in range(start, len(self.log)) if condition(self.log[at])), len(self.log))


def expected_fields(key: str, revision: int, known: dict[str, TripEvent]) -> Fields:
    """The known fields of a trip of these events."""
    is_complete = known.keys() >= NEEDED
    fields: Fields = {}
    for name in ("zone_exited", "zone_entered", "trip_started", "payment_processed", "trip_ended"):
        if name in known and (name in NEEDED or not is_complete):
            fields |= known[name].model_dump(exclude={*TripEvent.model_fields})
    if is_complete:
        km, minutes, speed = derived(fields["trip_distance"], fields["pickup_ts"], fields["dropoff_ts"])
        fields |= {"distance_km": km, "duration_min": minutes, "avg_speed_kmh": speed}
    missing = () if is_complete else tuple(name for name in EVENT_TYPES if name not in known)
    known_fields = {name: value for name, value in fields.items() if value is not None}
    return {"trip_key": key, "revision": revision, "missing": missing, **known_fields}


def known(result: Result) -> Fields:
    """The known fields of a result."""
    fields = {name: value for name, value in as_dict(result.trip).items() if value is not None}
    return fields | {"missing": result.missing}


PLAIN = replace(keyed(), slots=None)


def trip_key(result: Result) -> str:
    return result.trip.trip_key


KEYS = st.sampled_from(["a", "b", "c"])
KINDS = st.one_of(
    st.lists(st.sampled_from(range(5)), min_size=1, max_size=4),
    st.permutations(range(5)),
    st.permutations([0, 3, 4]),
)
VERSIONS = st.sampled_from([0, 0, 0, 1, 2])
SAYINGS = st.sampled_from([1, 1, 2])
AWAY = st.sampled_from([0, 0, -1, -MINUTE, -CORRECTION, -CORRECTION - 1, -CORRECTION + 1, HOUR, 2 * DAY])
STEPS = st.one_of(
    st.sampled_from([0, 1, MINUTE, HOUR, CORRECTION, TIMEOUT, INCOMPLETE]), st.integers(0, INCOMPLETE + 2 * TIMEOUT)
)


class AssemblyMachine(RuleBasedStateMachine):
    """A key group of trips that receives anything in any order and is restored at any time.

    Next to it runs a group without slots, in which each event takes the way through `Assembly.assemble`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.group, self.plain = group(), group(logic=PLAIN)
        self.log: list[Entry] = []
        self.now = self.received = NO_WATERMARK
        self.account: Counter[str] = Counter()
        self.results: dict[str, list[Fields]] = {}
        self.late: list[int] = []

    @initialize(start=st.sampled_from([NO_WATERMARK, NOW, NOW]))
    def begin(self, start: int) -> None:
        self.now = start

    @rule(key=KEYS, kinds=KINDS, version=VERSIONS, says=SAYINGS, away=AWAY, at_once=st.booleans())
    def send(self, key: str, kinds: Sequence[int], version: int, says: int, away: int, at_once: bool) -> None:
        """Some events of a trip, with times near the watermark."""
        time = BEGINNING + timedelta(milliseconds=max(self.now, NOW) - NOW + away)
        made = []
        for kind in kinds:
            make, differs = MAKERS[kind]
            made.append(make(trip_key=key, event_time=time, event_version=version, **{differs: says}))
        self._read(made, at_once)

    @precondition(lambda self: any(entry.event for entry in self.log))
    @rule(picks=st.lists(st.integers(0, 1000), min_size=1, max_size=5), at_once=st.booleans())
    def send_again(self, picks: list[int], at_once: bool) -> None:
        """Duplicates of earlier events, whatever the status of their trip."""
        sent = [entry.event for entry in self.log if entry.event is not None]
        self._read([sent[-1 - pick % len(sent)] for pick in picks], at_once)

    @rule(step=STEPS, is_received=st.booleans())
    def go_on(self, step: int, is_received: bool) -> None:
        """The watermark advances; the group receives it at once, or with its next record."""
        self._go_to(max(self.now, NOW) + step, is_received)

    @precondition(lambda self: any(self.group.inspect()))
    @rule(pick=st.integers(0, 1000), past=st.sampled_from([0, 1]), is_received=st.booleans())
    def go_to_a_deadline(self, pick: int, past: int, is_received: bool) -> None:
        """To the millisecond of one of the deadlines, or to the next."""
        live, packed_open, closed, _ = self.group.inspect()
        ends = sorted([*live.values(), *packed_open.values(), *closed.values()])
        self._go_to(max(self.now, ends[pick % len(ends)] + past), is_received)

    @rule(most=st.sampled_from([0, 1, 10_000]))
    def snapshot(self, most: int) -> None:
        """A snapshot packs all open states but `most`."""
        with patch("chillflow.keyed.state_store._MOST_LIVE", most):
            self.group.snapshot()
            self.plain.snapshot()
        assert len(self.group.inspect().live) <= most

    @rule()
    def restore(self) -> None:
        """A crash: only what was pickled survives."""
        self.group = group(pickle.loads(pickle.dumps(self.group.snapshot())))
        self.plain = group(pickle.loads(pickle.dumps(self.plain.snapshot())), PLAIN)

    @rule()
    def end(self) -> None:
        """The end of a bounded run that closes open trips; the next run resumes."""
        self.log.append(Entry(NO_WATERMARK, is_end=True))
        self._take(self.group.close(assembly().close), self.plain.close(assembly().close))

    @invariant()
    def the_model_says_the_same(self) -> None:
        model = Model(self.log)
        events = sum(entry.event is not None for entry in self.log)
        assert {name: self.account[name] for name in (*model.account, "events")} == {**model.account, "events": events}
        assert {key: results for key, results in model.results.items() if results} == self.results
        assert sorted(model.late) == self.late
        assert len(held(self.group, self.received)) == model.held

    @invariant()
    def the_rules_alone_do_the_same(self) -> None:
        assert self.group.inspect() == self.plain.inspect()

    @invariant()
    def it_adds_up(self) -> None:
        account = Counter(dict.fromkeys(ACCOUNT, 0)) | self.account
        assert min(self.account.values(), default=0) >= 0
        assert difference(account) == 0
        assert sum(account[f"{status}_trips"] for status in ("complete", "incomplete", "open")) == Model(self.log).trips

    def teardown(self) -> None:
        """All deadlines pass: nothing is left, and no trip is open."""
        self._go_to(max(self.now, NOW) + FOR_EVER, is_received=True)
        self.the_model_says_the_same()
        assert not any(contents(self.group, self.received))
        assert self.account["open_trips"] == self.account["events_in_open"] == 0

    def _read(self, events: Sequence[TripEvent], at_once: bool) -> None:
        read = [record._replace(offset=len(self.log) + at) for at, record in enumerate(records(events))]
        self.log += [Entry(self.now, event) for event in events]
        self.received = self.now
        for some in [read] if at_once else [[record] for record in read]:
            self._process(batch(some, self.now))

    def _go_to(self, watermark: int, is_received: bool) -> None:
        self.now = watermark
        if is_received:
            self.received = watermark
            self.log.append(Entry(watermark))
            self._process(watermark)

    def _process(self, item: GroupItem[DecodedEvent]) -> None:
        self._take(self.group.process([item]), self.plain.process([item]))

    def _take(self, decided: BatchOutcome[Any], plainly: BatchOutcome[Any]) -> None:
        """The outcome of a step; what the rules alone make of it is the same, for each key in the same order."""
        assert sorted(decided.results, key=trip_key) == sorted(plainly.results, key=trip_key)
        assert (decided.late, decided.dead, +decided.tally, -decided.tally) == (
            plainly.late,
            plainly.dead,
            +plainly.tally,
            -plainly.tally,
        )
        self.account.update(decided.tally)
        for result in decided.results:
            self.results.setdefault(result.trip.trip_key, []).append(known(result))
        self.late += [record.offset for record in decided.late]


TestAssembly = AssemblyMachine.TestCase
TestAssembly.settings = settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None)


def final(events: Iterable[TripEvent]) -> tuple[dict[str, Fields], Counter[str]]:
    """The last result of each trip at the end of a log of these events, and the account."""
    one = group()
    account: Counter[str] = Counter(dict.fromkeys(ACCOUNT, 0))
    last: dict[str, Fields] = {}
    for decided in (one.process([batch(events, NO_WATERMARK)]), one.close(assembly().close)):
        account.update(decided.tally)
        last |= {result.trip.trip_key: known(result) for result in decided.results}
    return last, account


@given(trips(), st.randoms(use_true_random=False), st.sets(st.integers(0, 4), max_size=3))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_order_of_the_events_makes_the_same_trip(
    one: CompleteTrip, chance: random.Random, dropped: set[int]
) -> None:
    events = [event for kind, event in enumerate(split(one)) if kind not in dropped]
    shuffled = chance.choices(events, k=3) + events if events else []
    chance.shuffle(shuffled)
    (last, account), (expected, _) = final(shuffled), final(events)
    assert last == expected
    assert account["duplicates"] == len(shuffled) - len(events)


@given(
    st.lists(trips(key=st.uuids().map(str)), max_size=4),
    st.randoms(use_true_random=False),
    st.floats(0, 1),
    st.floats(0, 1),
)
@settings(max_examples=EXAMPLES, deadline=None)
def test_each_trip_of_which_anything_came_ends_complete_or_incomplete(
    some: list[CompleteTrip], chance: random.Random, drop: float, duplicate: float
) -> None:
    events: list[TripEvent] = [event for one in some for event in split(one) if chance.random() >= drop]
    events += [event for event in events if chance.random() < duplicate]
    chance.shuffle(events)
    last, account = final(events)
    came: defaultdict[str, set[str]] = defaultdict(set)
    for event in events:
        came[event.trip_key].add(event.event_type)
    whole = {key for key, types in came.items() if types >= NEEDED}
    assert last.keys() == came.keys()
    assert {key for key, trip in last.items() if not trip["missing"]} == whole
    assert (account["complete_trips"], account["incomplete_trips"]) == (len(whole), len(last) - len(whole))
    assert account["open_trips"] == difference(account) == 0
