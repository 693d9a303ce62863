"""Results of a key group do not depend on batches, snapshots or watermarks without records, nor on its slots."""

from __future__ import annotations

import ast
import pickle
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any, NamedTuple, TypeAlias, TypedDict
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.assembly.account import difference
from chillflow.assembly.tallies import ACCOUNT
from chillflow.assembly.trip_state import Result, TripState
from chillflow.errors import RecoveryError
from chillflow.keyed.batches import Batch, GroupItem, Record, RecordColumns
from chillflow.keyed.group import VERSION, GroupSnapshot, KeyedLogic, KeyGroup
from chillflow.keyed.outcomes import DeadRecord, Outcome, Transition
from chillflow.keyed.packed_states import PackedStates
from chillflow.keyed.packing import PieceFormat, deadline_of
from chillflow.keyed.slots import Slots
from chillflow.keyed.state_store import Contents, StateFormat
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.model.codec import encode_value
from chillflow.model.events import DecodedEvent, TripEvent
from chillflow.model.structs import as_dict
from chillflow.model.trips import CompleteTrip
from chillflow.production.splitting import split
from tests.unit.vocabulary import (
    BEGINNING,
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    batch,
    contents,
    cut,
    end_event,
    enter_event,
    exit_event,
    group,
    held,
    keyed,
    payment_event,
    records,
    start_event,
    trip,
    trips,
)

PLAIN = replace(keyed(), slots=None)
"""Assembly without slots: each event takes the way through `Assembly.assemble`."""

ALTERED: dict[str, Callable[[Record], Record]] = {
    "another offset from UTC": lambda record: altered(record, rb'("\w+_t(?:s|ime)":"[^"]+)Z"', rb'\1+00:01"'),
    "another event time": lambda record: altered(record, rb'("event_time":"[^"]+):\d\dZ"', rb'\1:59Z"'),
    "another key": lambda record: record._replace(key=b"another"),
    "no key": lambda record: record._replace(key=None),
    "another trip": lambda record: altered(record, rb'"trip_key":"', rb'"trip_key":"x'),
    "a correction": lambda record: altered(record, rb'"event_version":0', rb'"event_version":1'),
    "another zone": lambda record: altered(record, rb'_zone_id":\d+', rb'_zone_id":7'),
    "extra columns": lambda record: altered(record, rb'"extra_columns":null', rb'"extra_columns":{"a":1.0}'),
    "an unknown field": lambda record: altered(record, rb"}$", ',"more":"é"}'.encode()),
    "other spaces": lambda record: altered(record, rb'":', rb'" : '),
    "money of no table": lambda record: altered(record, rb'"total_amount":[\d.]+', rb'"total_amount":1e20'),
    "a number that is none": lambda record: altered(record, rb'_zone_id":\d+', rb'_zone_id":"7"'),
    "no JSON": lambda record: record._replace(value=b"{"),
    "no text": lambda record: altered(record, rb'"event_id":"', b'"event_id":"\xe4'),
    "too deep": lambda record: record._replace(value=b"[" * 100_000),
    "no value": lambda record: record._replace(value=None),
}


def altered(record: Record, pattern: bytes, instead: bytes) -> Record:
    return record._replace(value=re.sub(pattern, instead, record.value or b""))


def highest(times: Sequence[int], rank: int) -> list[int]:
    """After each time, the `rank`-th largest so far: watermarks without trials, which advance within a few events."""
    return [sorted(times[: at + 1])[-rank] if at + 1 >= rank else NO_WATERMARK for at in range(len(times))]


@st.composite
def logs(draw: st.DrawFn, most_altered: int = 3) -> Batch[DecodedEvent]:
    """Events of some trips, shuffled, repeated, corrected, dropped and altered, over weeks of event time."""
    makers = [start_event, exit_event, enter_event, payment_event, end_event]
    events: list[TripEvent] = []
    for number in range(draw(st.integers(1, 4))):
        begin = BEGINNING + timedelta(
            minutes=draw(st.integers(0, 15 * 24 * 60) | st.integers(0, 10 * 15).map(lambda n: 10 * n))
        )
        for make in makers:
            versions = draw(st.lists(st.integers(0, 2), max_size=3))
            events += [make(trip_key=f"trip {number}", event_time=begin, event_version=each) for each in versions]
    if draw(st.booleans()):
        events.sort(key=lambda event: event.event_time)
    else:
        events = draw(st.permutations(events))
    made = records(events)
    for at in draw(st.sets(st.integers(0, max(len(made) - 1, 0)), max_size=most_altered)) if made else ():
        made[at] = ALTERED[draw(st.sampled_from([*ALTERED]))](made[at])
    times = [record.timestamp or 0 for record in made]
    return batch(made, highest(times, draw(st.integers(1, 4))))


def places(log: Batch[DecodedEvent]) -> st.SearchStrategy[set[int]]:
    return st.sets(st.integers(0, max(len(log) - 1, 0)))


class Ran(TypedDict):
    """What a group did with a log."""

    account: Counter[str]
    results: dict[str, list[Result]]
    late: list[Record]
    dead: list[DeadRecord]
    states: dict[bytes, bytes]
    contents: Contents


def run(
    log: Batch[DecodedEvent],
    cuts: Collection[int] = (),
    snapshots: Collection[int] = (),
    hints: Collection[int] = (),
    logic: KeyedLogic[TripState, DecodedEvent, Result] | None = None,
    most_live: int = 4_000,
) -> Ran:
    """Process a log: cut into batches after these places, with restores from snapshots and watermarks without records.

    Each step keeps a balanced account, and states as `contents` asserts.
    """
    one = group(logic=logic)
    account = Counter(dict.fromkeys(ACCOUNT, 0))
    results: dict[str, list[Result]] = {}
    late: list[Record] = []
    dead: list[DeadRecord] = []
    watermark = NO_WATERMARK

    def take(*items: GroupItem[DecodedEvent]) -> None:
        out = one.process(items)
        account.update(out.tally)
        assert difference(account) == 0
        assert min(account.values()) >= 0
        for result in out.results:
            results.setdefault(result.trip.trip_key, []).append(result)
        late.extend(out.late)
        dead.extend(out.dead)

    at = 0
    for part in cut(log, {place + 1 for place in (*cuts, *snapshots, *hints)}):
        at, watermark = at + len(part), part.watermarks[-1]
        take(part, *([watermark] if at - 1 in hints else []))
        contents(one, watermark, logic)
        if at - 1 in snapshots:
            with patch("chillflow.keyed.state_store._MOST_LIVE", most_live):
                one = group(pickle.loads(pickle.dumps(one.snapshot())), logic)
    found = contents(one, watermark, logic)
    return {
        "account": +account,
        "results": results,
        "late": late,
        "dead": dead,
        "states": states_in(one.snapshot()),
        "contents": found,
    }


def states_in(snapshot: GroupSnapshot) -> dict[bytes, bytes]:
    """The packed states of a snapshot, whichever piece they are in."""
    live, packed = PieceFormat().read((b"", *snapshot["states"]["live"][1:])), snapshot["states"]["packed"]
    return {**live, **PackedStates(spans=packed).states}


def without_tiers(ran: Ran) -> dict[str, Any]:
    """What must be the same however states are packed."""
    return {name: value for name, value in ran.items() if name != "contents"}


@given(logs(), st.data())
@settings(max_examples=150, deadline=None)
def test_batches_and_snapshots_do_not_matter(log: Batch[DecodedEvent], data: st.DataObject) -> None:
    whole = without_tiers(run(log))
    cuts, snapshots = data.draw(places(log)), data.draw(places(log))
    assert without_tiers(run(log, cuts, snapshots, most_live=data.draw(st.sampled_from([0, 1, 4_000])))) == whole
    assert without_tiers(run(log, snapshots=range(len(log)))) == whole


@given(logs(), st.data())
@settings(max_examples=150, deadline=None)
def test_watermarks_without_records_do_not_matter(log: Batch[DecodedEvent], data: st.DataObject) -> None:
    # They make states expire sooner, so states and account are compared at one watermark at the end.
    hints = data.draw(places(log))
    assert run(log, hints={*hints, len(log) - 1}) == run(log, hints={len(log) - 1})


@given(logs())
@settings(max_examples=100, deadline=None)
def test_no_state_is_left(log: Batch[DecodedEvent]) -> None:
    one = group()
    account = Counter(dict.fromkeys(ACCOUNT, 0))
    account.update(one.process([log, NOW + 60 * DAY, NOW + 90 * DAY]).tally)
    assert not any(contents(one, NOW + 90 * DAY))
    assert one.snapshot() == {**group().snapshot(), "watermark": NOW + 90 * DAY}
    assert account["open_trips"] == account["events_in_open"] == 0
    assert difference(account) == 0


@given(logs(most_altered=0), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_arrival_does_not_matter_within_the_horizons(log: Batch[DecodedEvent], random: Random) -> None:
    def outcome(order: list[Record]) -> dict[str, dict[str, object]]:
        ran = run(batch(order))
        return {key: {**as_dict(seen[-1].trip), "revision": None} for key, seen in ran["results"].items()}

    shuffled = log.records.records() if len(log) else []
    random.shuffle(shuffled)
    assert outcome(shuffled) == outcome(sorted(shuffled))


# The loop of the group does what the rules would


@given(logs(), st.data())
@settings(max_examples=300, deadline=None)
def test_the_loop_equals_the_rules(log: Batch[DecodedEvent], data: st.DataObject) -> None:
    most_live = data.draw(st.sampled_from([0, 1, 4_000]))
    cuts, snapshots = data.draw(places(log)), data.draw(places(log))
    assert run(log, cuts, snapshots, most_live=most_live) == run(log, cuts, snapshots, (), PLAIN, most_live)


@given(
    st.lists(st.tuples(trips(), st.integers(0, 60)), min_size=1, max_size=4),
    st.data(),
    st.randoms(use_true_random=False),
)
@settings(max_examples=150, deadline=None)
def test_the_loop_equals_the_rules_for_any_trips_in_usual_and_unusual_orders(
    made: list[tuple[CompleteTrip, int]], data: st.DataObject, random: Random
) -> None:
    """Pickups and drop-offs as our producers send them, some split, reversed or repeated, whole trips; or shuffled."""
    fives = [split(moved(one, hours)) for one, hours in made]
    legs = [events for five in fives for events in (five[:2], five[2:])]
    order = sorted(legs, key=lambda leg: leg[0].event_time)
    for five in data.draw(st.lists(st.sampled_from(fives), max_size=4)):
        order.insert(data.draw(st.integers(0, len(order))), five)
    log = [event for leg in order for event in data.draw(st.sampled_from([leg, leg, leg, leg[:1], leg[::-1], leg * 2]))]
    if data.draw(st.booleans()):
        random.shuffle(log)
    read = records(log)
    whole = batch(read, highest([record.timestamp or 0 for record in read], data.draw(st.integers(1, 4))))
    snapshots = data.draw(places(whole))
    assert run(whole) == run(whole, logic=PLAIN)
    assert run(whole, snapshots=snapshots) == run(whole, snapshots=snapshots, logic=PLAIN)


def moved(one: CompleteTrip, hours: int) -> CompleteTrip:
    """The trip at a time near those of the others."""
    begin = BEGINNING + timedelta(hours=hours)
    return one.model_copy(update={"pickup_ts": begin, "dropoff_ts": begin + timedelta(minutes=hours % 50 - 2)})


@pytest.mark.parametrize("what", ALTERED)
@pytest.mark.parametrize("altered_places", [(0,), (1,), (2,), (3,), (4,), (0, 1), (2, 3, 4), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("order", ["in order", "zone events last", "reversed", "twice"])
def test_the_loop_equals_the_rules_for_unusual_records(what: str, altered_places: tuple[int, ...], order: str) -> None:
    log = records([event for key in "abc" for event in split(trip(trip_key=key, pickup_ts=BEGINNING))])
    for place in altered_places:
        log[5 + place] = ALTERED[what](log[5 + place])
    match order:
        case "zone events last":
            log.sort(key=lambda record: record.offset % 5 in (1, 2))
        case "reversed":
            log.reverse()
        case "twice":
            log = [each for record in log for each in (record, record)]
    loop, rules = run(batch(log)), run(batch(log), logic=PLAIN)
    assert loop == rules
    for key, results in rules["results"].items():
        assert encode_value(loop["results"][key]) == encode_value(results), "equal times may differ in their offset"
    assert states_of_records(log) == loop["contents"].live.keys() | loop["contents"].closed.keys()


def states_of_records(log: list[Record]) -> set[bytes]:
    """The keys of the records that are events."""
    whole = batch(log)
    return {
        key for key, event in zip(whole.records.keys, whole.events, strict=True) if key and hasattr(event, "trip_key")
    }


class Calls:
    """Assembly that counts the calls of the mapper, which are the events that the loop leaves out."""

    def __init__(self) -> None:
        self.events: list[DecodedEvent] = []
        rules = keyed()

        def mapper(state: TripState | None, event: DecodedEvent, watermark: int) -> Transition[TripState, Result]:
            self.events.append(event)
            return rules.mapper(state, event, watermark)

        self.group = group(logic=replace(rules, mapper=mapper))


@pytest.mark.parametrize("order", ["in order", "shuffled", "reversed"])
def test_the_loop_takes_all_events_but_zone_events_of_trips_completed_by_an_earlier_batch(order: str) -> None:
    events = [event for number in range(200) for event in split(trip(trip_key=f"trip {number}"))]
    events.sort(key=lambda event: event.event_time)
    if order != "in order":
        Random(1).shuffle(events)
    if order == "reversed":
        events.sort(key=lambda event: event.event_time, reverse=True)
    calls, seen, after = Calls(), dict[str, set[str]](), list[DecodedEvent]()
    for first in range(0, len(events), 70):
        some = events[first : first + 70]
        complete = {key for key, types in seen.items() if types >= {"trip_started", "payment_processed", "trip_ended"}}
        after += [event.to_struct() for event in some if event.trip_key in complete]
        for event in some:
            seen.setdefault(event.trip_key, set()).add(event.event_type)
    out = calls.group.process(cut(batch(events), range(70, 1000, 70)))
    assert calls.events == after
    assert bool(after) == (order != "in order")
    assert (len(out.results), out.tally["events_in_complete"]) == (200, 1000)


@pytest.mark.parametrize("more", range(24 * 60, 25 * 60 + 15, 5))
def test_a_trip_completed_in_a_batch_is_dropped_within_it(more: int) -> None:
    """A watermark that passes the deadline of the complete trip, but not that of the open one, and both."""
    log = [start_event(), payment_event(), end_event(), *(exit_event(trip_key=key) for key in ("other", "a-trip"))]
    whole = batch(log, [NOW, NOW, NOW, *[NOW + more * MINUTE] * 2])
    assert run(whole) == run(whole, logic=PLAIN)
    assert without_tiers(run(whole)) == without_tiers(run(whole, cuts=range(5)))


def test_repeats_and_events_of_closed_or_packed_trips_are_left_to_the_mapper() -> None:
    calls = Calls()
    calls.group.process([batch([*split(trip()), start_event(trip_key="open"), start_event(trip_key="open")])])
    assert [event.trip_key for event in calls.events] == ["open"]
    with patch("chillflow.keyed.state_store._MOST_LIVE", 0):
        calls.group.snapshot()
    out = calls.group.process(
        [
            batch(
                [
                    *split(trip()),
                    *(end_event(trip_key="open"), payment_event(trip_key="open"), exit_event(trip_key="new")),
                ]
            )
        ]
    )
    assert [event.trip_key for event in calls.events[1:]] == ["a-trip"] * 5 + ["open"], "once loaded, it is live"
    assert (len(out.results), out.tally["duplicates"]) == (1, 5)


# Keys with slots that are no trips


class Pair(NamedTuple):
    """What becomes of a pair; times in ms after the watermark, None for no deadline."""

    timeout: int | None
    kept: int | None
    """Once it is complete."""
    is_closed: bool
    pack: bool


Found: TypeAlias = tuple[object, ...]
"""The result of a pair: its number and its text; or "expired" and all its events."""


class PairState:
    """A number, a text and perhaps a list."""

    def __init__(self, deadline: int | None, events: list[object], vacant: int, done: bool = False) -> None:
        self.deadline, self.events, self.vacant, self.done = deadline, events, vacant, done


class Pairs:
    """Keys that are complete with a number and a text; a list is optional."""

    types = (int, str, list)
    opened, joined, ignored = ((("opened", 1),), (("joined", 1),), (("ignored", 1),))

    def __init__(self, kind: Pair) -> None:
        self.kind = kind

    def begin(self, event: object, watermark: int) -> PairState | None:
        if "refused" in str(event):
            return None
        slot, timeout = self.types.index(type(event)), self.kind.timeout
        events = [event if slot == each else None for each in range(3)]
        return PairState(None if timeout is None else watermark + timeout, events, 0b111 ^ 1 << slot)

    def complete(self, states: Sequence[PairState], watermarks: Sequence[int]) -> list[Outcome[Found]]:
        kept, outcomes = self.kind.kept, []
        for state, watermark in zip(states, watermarks, strict=True):
            state.deadline = None if kept is None else watermark + kept
            state.vacant, state.done = 0, True
            pack = self.kind.pack and None not in state.events
            outcomes.append(Outcome((("completed", 1),), (*state.events[:2],), pack=pack))
        return outcomes

    def visit(self, state: PairState | None, event: object, watermark: int) -> Transition[PairState, Found]:
        if state is None:
            state = self.begin(event, watermark)
            return state, Outcome((("refused", 1),), late=True) if state is None else Outcome(self.opened)
        slot = self.types.index(type(event))
        if state.events[slot] is not None:
            return state, Outcome(self.ignored, pack=self.kind.pack, unchanged=not self.kind.pack)
        state.events[slot] = event
        if state.done:
            return state, Outcome(self.joined, pack=self.kind.pack)
        state.vacant ^= 1 << slot
        if state.vacant & 0b11:
            return state, Outcome(self.joined)
        (outcome,) = self.complete([state], [watermark])
        return state, Outcome(self.joined + outcome.tally, outcome.result, pack=outcome.pack)

    def expire(self, state: PairState) -> Transition[PairState, Found]:
        return None, Outcome((("expired", 1),), ("expired", *state.events))

    def logic(self, *, with_slots: bool) -> KeyedLogic[PairState, Any, Found]:
        kept = 2**63 if self.kind.kept is None else self.kind.kept
        slots = Slots(self.types, (0, 1), self.begin, self.complete, kept, self.opened, self.joined)
        states = StateFormat(
            lambda state: repr((state.events, state.vacant, state.done)).encode(),
            lambda data: PairState(None, *ast.literal_eval(data.decode())),
            lambda data: self.kind.is_closed and data.endswith(b"True)"),
        )
        return KeyedLogic(self.visit, self.expire, states, slots if with_slots else None)


def plain_batch(items: Sequence[tuple[str, Any]], watermarks: Sequence[int]) -> Batch[Any]:
    """Events of any kind, as `key_groups` emits them: (key, event) pairs."""
    keys = [key.encode() for key, _ in items]
    return Batch(
        RecordColumns(range(len(items)), watermarks, keys, keys, [None] * len(items)),
        [event for _, event in items],
        watermarks,
    )


TERMS = st.sampled_from([None, 0, HOUR, 3 * HOUR, 2**63])


def events_of(key: str) -> st.SearchStrategy[Any]:
    """Events that tell their key."""
    return st.sampled_from([10 * ord(key), 10 * ord(key) + 1, f"{key}a", f"{key}b", f"{key} refused", [key]])


def key_of(result: tuple[Any, ...]) -> str:
    """The key whose events these are."""
    event = next(each for each in result if each not in (None, "expired"))
    return chr(event // 10) if isinstance(event, int) else str(event[0])


STEPS = st.sampled_from("xyz").flatmap(
    lambda key: st.tuples(st.just(key), events_of(key), st.sampled_from([0, 0, 1, 10 * SECOND, HOUR, DAY]))
)


@given(
    st.lists(STEPS, max_size=30),
    st.sets(st.integers(0, 29), max_size=4),
    st.builds(Pair, TERMS, TERMS, st.booleans(), st.booleans()),
)
@settings(max_examples=400, deadline=None)
def test_the_loop_equals_the_mapper_for_any_keys(steps: list[tuple[str, Any, int]], cuts: set[int], kind: Pair) -> None:
    watermarks = [NOW + sum(step for _, _, step in steps[: at + 1]) for at in range(len(steps))]
    whole = plain_batch([(key, event) for key, event, _ in steps], watermarks)
    found = []
    for with_slots in (True, False):
        logic = Pairs(kind).logic(with_slots=with_slots)
        one = KeyGroup(logic)
        seen: list[object] = []
        for part in cut(whole, cuts):
            out = one.process([part])
            seen += [sorted(out.results, key=key_of), out.late, +out.tally, contents(one, part.watermarks[-1], logic)]
            one = KeyGroup(logic, one.snapshot())
            seen.append(one.inspect())
        out = one.process([NOW + 100 * DAY])
        seen += [out.results, out.tally, contents(one, NOW + 100 * DAY, logic)]
        found.append(seen)
    assert found[0] == found[1]


# States of any kind


def test_a_snapshot_is_plain_data() -> None:
    one = group()
    one.process([batch([start_event(), end_event()])])
    snapshot = one.snapshot()
    assert ast.literal_eval(repr(snapshot)) == snapshot
    ((key, packed),) = states_in(snapshot).items()
    assert key == start_event().trip_key.encode()
    assert deadline_of(packed) == NOW + 25 * HOUR


class Count:
    """A state that is false when it is empty, as a state may be."""

    def __init__(self, n: int, deadline: int | None = None) -> None:
        self.n, self.deadline = n, deadline

    def __bool__(self) -> bool:
        return self.n > 0


COUNTS: StateFormat[Count] = StateFormat(lambda state: b"%d" % state.n, lambda data: Count(int(data)))


def numbers(*events: int, watermark: int = NOW) -> Batch[Any]:
    """Numbers for one key."""
    return plain_batch([("k", event) for event in events], [watermark] * len(events))


@pytest.mark.parametrize("deadline", [None, 2**63 - 1, 2**64])
def test_a_state_without_a_deadline_stays(deadline: int | None) -> None:
    def visit(state: Count | None, event: int, watermark: int) -> tuple[Count, None]:
        return Count(event, deadline), None

    counting: KeyedLogic[Count, int, int] = KeyedLogic(visit, lambda state: (None, None), COUNTS)
    one = KeyGroup(counting)
    one.process([numbers(1)])
    again = KeyGroup(counting, one.snapshot())
    again.process([2**63 - 1])
    assert len(held(again, NOW, counting)) == 1


def test_a_snapshot_of_a_newer_release_is_refused() -> None:
    with pytest.raises(RecoveryError, match=f"version {VERSION + 1}"):
        KeyGroup(keyed(), {**group().snapshot(), "version": VERSION + 1})


def test_states_with_the_same_deadline_expire_in_the_order_of_their_keys() -> None:
    for keys in (["b", "a", "c"], ["c", "b", "a"]):
        one = group()
        one.process([batch([start_event(trip_key=key) for key in keys])])
        out = one.process([NOW + 2 * DAY])
        assert [result.trip.trip_key for result in out.results] == ["a", "b", "c"]


def test_a_state_may_be_false() -> None:
    def count(state: Count | None, event: int, watermark: int) -> tuple[Count, Outcome[int]]:
        state = state if state is not None else Count(0)
        state.n += event
        return state, Outcome((), result=state.n)

    one = KeyGroup(KeyedLogic(count, lambda state: (state, None), COUNTS))
    assert one.process([numbers(0, 2)]).results == [0, 2]
    one.snapshot()
    assert one.process([numbers(-2, 1)]).results == [0, 1]


def test_a_false_state_may_expire() -> None:
    expiring: KeyedLogic[Count, int, int] = KeyedLogic(
        lambda state, event, watermark: (Count(0, watermark), None),
        lambda state: (None, Outcome((), result=state.n)),
        COUNTS,
    )
    one = KeyGroup(expiring)
    one.process([numbers(1)])
    assert one.process([NOW + 1]).results == [0]


def test_a_mapper_may_drop_a_state() -> None:
    dropping: KeyedLogic[Count, int, int] = KeyedLogic(
        lambda state, event, watermark: (None, None) if state else (Count(event, watermark), None),
        lambda state: (None, None),
        COUNTS,
    )
    one = KeyGroup(dropping)
    one.process([numbers(1)])
    one.snapshot()
    one.process([numbers(1)])
    assert not any(contents(one, NOW, dropping))
    one.process([numbers(1), NOW + 1])
    assert not any(contents(one, NOW + 1, dropping))
    assert one.snapshot() == {**KeyGroup(dropping).snapshot(), "watermark": NOW + 1}


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("later", [0, 1, 5 * HOUR])
def test_a_deadline_may_be_passed_when_it_is_set(pack: bool, later: int) -> None:
    """The state expires before the next record, and not before there is one."""
    overdue: KeyedLogic[Count, int, int] = KeyedLogic(
        lambda state, event, watermark: (Count(event, NOW - DAY), Outcome((), pack=pack)),
        lambda state: (None, Outcome((), result=state.n)),
        COUNTS,
    )
    one = KeyGroup(overdue)
    assert one.process([numbers(7, watermark=NOW - 6 * HOUR)]).results == []
    one = KeyGroup(overdue, one.snapshot())
    assert one.process([numbers(8, watermark=NOW + later)]).results == [7]
    assert one.process([NOW + later]).results == [8]
    assert not any(contents(one, NOW + later, overdue))


def test_states_are_resumed_under_a_schema_with_a_new_field() -> None:
    one = KeyGroup(visits(b"closed pages"))
    one.process([visit("closed"), NOW + 1, visit("open", watermark=NOW + 1)])
    newer = visits(b"closed pages clicks")
    resumed = KeyGroup(newer, one.snapshot())
    resumed_again = KeyGroup(newer, resumed.snapshot())

    for each in (resumed, resumed_again):
        out = each.process([visit("closed", "open", "new", watermark=NOW + 1)])
        assert out.results == [b"1 2 10", b"0 2 10", b"0 1 0"]


def test_states_under_the_current_schema_are_not_adapted() -> None:
    def adapt(data: bytes, schema: bytes) -> bytes:
        raise AssertionError(schema)

    logic = visits(b"closed pages")
    one = KeyGroup(logic)
    one.process([visit("closed"), NOW + 1, visit("open", watermark=NOW + 1)])
    refusing = replace(logic, format=replace(logic.format, pieces=PieceFormat(b"closed pages", adapt)))
    assert held(KeyGroup(refusing, one.snapshot()), NOW + 1, refusing).keys() == {b"closed", b"open"}


class Visits:
    """A state of numbers, named by the schema."""

    def __init__(self, numbers: list[int], deadline: int | None = None) -> None:
        self.numbers, self.deadline = numbers, deadline


def visits(schema: bytes) -> KeyedLogic[Visits, str, bytes]:
    """Counts pages, and closes a state at its first deadline. States from before the count of clicks get 10 of them."""

    def dump(state: Visits) -> bytes:
        return b" ".join(b"%d" % number for number in state.numbers)

    def count(state: Visits | None, event: str, watermark: int) -> tuple[Visits, Outcome[bytes]]:
        closed, seen, *more = [0] * len(schema.split()) if state is None else state.numbers
        state = Visits([closed, seen + 1, *more], watermark + closed)
        return state, Outcome((), result=dump(state))

    def adapt(data: bytes, old: bytes) -> bytes:
        assert old == b"closed pages"
        return data + b" 10"

    return KeyedLogic(
        count,
        lambda state: (None if state.numbers[0] else Visits([1, *state.numbers[1:]], NOW + DAY), None),
        StateFormat(
            dump,
            lambda data: Visits([int(number) for number in data.split()]),
            lambda data: data.startswith(b"1"),
            PieceFormat(schema, adapt),
        ),
    )


def visit(*keys: str, watermark: int = NOW) -> Batch[str]:
    """A page for each of these keys."""
    return plain_batch([(key, key) for key in keys], [watermark] * len(keys))
