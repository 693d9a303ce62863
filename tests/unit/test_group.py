"""Results of a key group do not depend on batches, snapshots or watermarks without records."""

import ast
import re
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.assembly.account import difference
from chillflow.assembly.tallies import ACCOUNT
from chillflow.assembly.trip_state import Result, TripState
from chillflow.errors import RecoveryError
from chillflow.keyed.batches import Record
from chillflow.keyed.closed_states import ClosedStates
from chillflow.keyed.group import VERSION, GroupSnapshot, KeyedLogic, KeyGroup, Stretch
from chillflow.keyed.outcomes import DeadRecord, Outcome
from chillflow.keyed.packing import PieceFormat, deadline_of
from chillflow.keyed.watermark import NO_WATERMARK, WatermarkTracker
from chillflow.model.codec import encode_value
from chillflow.model.events import DecodedEvent, TripEvent
from chillflow.model.structs import as_dict
from chillflow.model.trips import CompleteTrip, milliseconds
from chillflow.production.splitting import split
from tests.unit.vocabulary import (
    BEGINNING,
    DAY,
    HOUR,
    NOW,
    assembly,
    end_event,
    enter_event,
    exit_event,
    group,
    keyed,
    payment_event,
    records,
    start_event,
    trip,
    trips,
)


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """Events of some trips, shuffled, repeated, corrected and dropped, over weeks of event time; and some junk."""
    makers = [start_event, exit_event, enter_event, payment_event, end_event]
    events: list[TripEvent] = []
    for number in range(draw(st.integers(1, 4))):
        begin = BEGINNING + timedelta(hours=draw(st.integers(0, 15 * 24)))
        for make in makers:
            versions = draw(st.lists(st.integers(0, 2), max_size=3))
            events += [make(trip_key=f"trip {number}", event_time=begin, event_version=each) for each in versions]
    if draw(st.booleans()):
        events.sort(key=lambda event: event.event_time)
    else:
        events = draw(st.permutations(events))
    tracker = WatermarkTracker(draw(st.integers(1, 4)))
    made = records(events, [tracker.observe(milliseconds(event.event_time)) for event in events])
    for at in draw(st.lists(st.integers(0, len(made)), max_size=2)):
        watermark = made[at].watermark if at < len(made) else tracker.now
        made.insert(at, Record(watermark, -1, draw(st.sampled_from([b"trip 1", None])), b"rubbish", None))
    return made


class Ran(TypedDict):
    """What a group did with a log."""

    account: Counter[str]
    results: dict[str, list[Result]]
    late: list[Record]
    dead: list[DeadRecord]
    states: dict[bytes, bytes]


def run(
    log: list[Record],
    cuts: Collection[int] = (),
    snapshots: Collection[int] = (),
    hints: Collection[int] = (),
) -> Ran:
    """Process a log that is cut into batches, with restores from snapshots and watermarks without records."""
    account = Counter(dict.fromkeys(ACCOUNT, 0))
    results: dict[str, list[Result]] = {}
    late: list[Record] = []
    dead: list[DeadRecord] = []
    one = group()
    batches: list[list[Record] | int] = []
    batch: list[Record] = []

    def flush() -> None:
        decided = one.process(batches)
        account.update(decided.tally)
        assert difference(account) == 0
        assert min(account.values()) >= 0
        for result in decided.results:
            results.setdefault(result.trip.trip_key, []).append(result)
        late.extend(decided.late)
        dead.extend(decided.dead)
        batches.clear()

    for at, record in enumerate(log):
        batch.append(record)
        if at in cuts or at in snapshots or at in hints:
            batches.append(batch)
            batch = []
        if at in hints and record.watermark != NO_WATERMARK:
            batches.append(record.watermark)
        if at in snapshots:
            flush()
            one = group(one.snapshot())
    batches.append(batch)
    flush()
    return {
        "account": +account,
        "results": results,
        "late": late,
        "dead": dead,
        "states": states_in(one.snapshot()),
    }


def states_in(snapshot: GroupSnapshot) -> dict[bytes, bytes]:
    """The packed states of a snapshot, whichever piece they are in."""
    closed = ClosedStates(snapshot=snapshot["closed"], watermark=snapshot["watermark"])
    pieces = [PieceFormat().read((b"", size, data)) for _, size, data in snapshot["open"]]
    assert len({key for piece in pieces for key in piece}) == sum(map(len, pieces))
    return {key: state for piece in pieces for key, state in piece.items()} | dict(closed.items(snapshot["watermark"]))


@given(logs(), st.data())
@settings(max_examples=150, deadline=None)
def test_batches_and_snapshots_do_not_matter(log: list[Record], data: st.DataObject) -> None:
    places = st.sets(st.integers(0, max(len(log) - 1, 0)))
    whole = run(log)
    assert run(log, cuts=data.draw(places), snapshots=data.draw(places)) == whole
    assert run(log, snapshots=set(range(len(log)))) == whole


@given(logs(), st.data())
@settings(max_examples=150, deadline=None)
def test_watermarks_without_records_do_not_matter(log: list[Record], data: st.DataObject) -> None:
    # They make states expire sooner, so states and account are compared at one watermark at the end.
    hints = data.draw(st.sets(st.integers(0, max(len(log) - 1, 0))))
    assert run(log, hints={*hints, len(log) - 1}) == run(log, hints={len(log) - 1})


@given(logs())
@settings(max_examples=100, deadline=None)
def test_no_state_is_left(log: list[Record]) -> None:
    one = group()
    account = Counter(dict.fromkeys(ACCOUNT, 0))
    account.update(one.process([log, NOW + 60 * DAY, NOW + 90 * DAY]).tally)
    assert len(one) == 0
    assert one.snapshot() == {**group().snapshot(), "watermark": NOW + 90 * DAY}
    assert not [*one._deadlines]
    assert account["open_trips"] == account["events_in_open"] == 0
    assert difference(account) == 0


@given(logs(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_arrival_does_not_matter_within_the_horizons(log: list[Record], random: Random) -> None:
    def outcome(order: list[Record]) -> dict[str, dict[str, object]]:
        ran = run([record._replace(watermark=NOW) for record in order])
        return {key: {**as_dict(seen[-1].trip), "revision": None} for key, seen in ran["results"].items()}

    shuffled = log.copy()
    random.shuffle(shuffled)
    assert outcome(shuffled) == outcome(log)


@given(st.lists(st.tuples(trips(), st.integers(0, 60)), min_size=1, max_size=4), st.data())
@settings(max_examples=150, deadline=None)
def test_the_shortcut_gives_the_same_results(made: list[tuple[CompleteTrip, int]], data: st.DataObject) -> None:
    """Pickups and drop-offs as our producers send them, some split, reversed or repeated, and whole trips."""
    fives = [split(moved(one, hours)) for one, hours in made]
    legs = [events for five in fives for events in (five[:2], five[2:])]
    order = sorted(legs, key=lambda leg: leg[0].event_time)
    for five in data.draw(st.lists(st.sampled_from(fives), max_size=4)):
        order.insert(data.draw(st.integers(0, len(order))), five)
    log = [event for leg in order for event in data.draw(st.sampled_from([leg, leg, leg, leg[:1], leg[::-1], leg * 2]))]
    tracker = WatermarkTracker(data.draw(st.integers(1, 4)))
    with_watermarks = records(log, [tracker.observe(milliseconds(event.event_time)) for event in log])
    assert run(with_watermarks) == run(with_watermarks, cuts=range(len(with_watermarks)))
    snapshots = data.draw(st.sets(st.integers(0, len(with_watermarks) - 1)))
    assert run(with_watermarks, snapshots=snapshots) == run(with_watermarks)


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


@pytest.mark.parametrize("what", ALTERED)
@pytest.mark.parametrize("places", [(0,), (1,), (2,), (3,), (4,), (0, 1), (2, 3, 4), (0, 1, 2, 3, 4)])
def test_the_shortcut_skips_unusual_records(what: str, places: tuple[int, ...]) -> None:
    log = records([event for key in "abc" for event in split(trip(trip_key=key, pickup_ts=BEGINNING))], NOW)
    for place in places:
        log[5 + place] = ALTERED[what](log[5 + place])
    by_shortcut, one_by_one = run(log), run(log, cuts=range(len(log)))
    assert by_shortcut == one_by_one
    # equal times may differ in their offset
    assert encode_value(by_shortcut["results"]) == encode_value(one_by_one["results"])


def moved(one: CompleteTrip, hours: int) -> CompleteTrip:
    """The trip at a time near those of the others."""
    begin = BEGINNING + timedelta(hours=hours)
    return one.model_copy(update={"pickup_ts": begin, "dropoff_ts": begin + timedelta(minutes=hours % 50 - 2)})


def test_the_shortcut_is_taken() -> None:
    rules = assembly()
    taken: list[int] = []

    def shortcut(stretch: Stretch[TripState, DecodedEvent, Result], start: int) -> int:
        end = rules._shortcut(stretch, start)
        taken.append(end - start)
        return end

    one = KeyGroup(replace(keyed(), shortcut=shortcut))
    decided = one.process([records([event for key in "aba" for event in split(trip(trip_key=key))])])
    assert taken[0] == 10
    assert len(decided.results) == 2
    assert decided.tally["duplicates"] == 5  # trip a was completed in the same batch


def test_a_snapshot_is_plain_data() -> None:
    one = group()
    one.process([records([start_event(), end_event()])])
    snapshot = one.snapshot()
    assert ast.literal_eval(repr(snapshot)) == snapshot
    ((key, packed),) = states_in(snapshot).items()
    assert key == start_event().trip_key.encode()
    assert deadline_of(packed) == NOW + 25 * HOUR


@pytest.mark.parametrize("deadline", [None, 2**63 - 1, 2**64])
def test_a_state_without_a_deadline_stays(deadline: int | None) -> None:
    def visit(state: Count | None, event: int, watermark: int) -> tuple[Count, None]:
        return Count(event, deadline), None

    counting: KeyedLogic[Count, int, int] = KeyedLogic(
        visit, lambda state: (None, None), lambda key, value: 1, lambda s: b"%d" % s.n, lambda b: Count(int(b))
    )
    one = KeyGroup(counting)
    one.process([[Record(NOW, 0, b"k", b"", None)]])
    again = KeyGroup(counting, one.snapshot())
    again.process([2**63 - 1])
    assert len(again) == 1


def test_a_snapshot_of_a_newer_release_is_refused() -> None:
    with pytest.raises(RecoveryError, match=f"version {VERSION + 1}"):
        KeyGroup(keyed(), {**group().snapshot(), "version": VERSION + 1})


def test_states_with_the_same_deadline_expire_in_the_order_of_their_keys() -> None:
    for keys in (["b", "a", "c"], ["c", "b", "a"]):
        one = group()
        one.process([records([start_event(trip_key=key) for key in keys])])
        decided = one.process([NOW + 2 * DAY])
        assert [result.trip.trip_key for result in decided.results] == ["a", "b", "c"]


def test_len_counts_each_key_once() -> None:
    one = group()
    one.process([records([start_event(), start_event(trip_key="other")])])
    assert len(one) == 2
    one.snapshot()
    one.process([records([end_event()])])
    assert len(one) == 2


class Count:
    """A state that is false when it is empty, as a state may be."""

    def __init__(self, n: int, deadline: int | None = None) -> None:
        self.n, self.deadline = n, deadline

    def __bool__(self) -> bool:
        return self.n > 0


def test_a_state_may_be_false() -> None:
    def count(state: Count | None, event: int, watermark: int) -> tuple[Count, Outcome[int]]:
        state = state if state is not None else Count(0)
        state.n += event
        return state, Outcome((), result=state.n)

    counting: KeyedLogic[Count, int, int] = KeyedLogic(
        count,
        lambda state: (state, None),
        lambda key, value: int(value or 0),
        lambda s: b"%d" % s.n,
        lambda b: Count(int(b)),
    )
    one = KeyGroup(counting)
    made = [Record(NOW, 0, b"k", value, None) for value in (b"0", b"2", b"x", b"-2", b"1")]
    assert one.process([made[:2]]).results == [0, 2]
    one.snapshot()
    assert one.process([made[2:]]).results == [0, 1]


def test_a_false_state_may_expire() -> None:
    expiring: KeyedLogic[Count, int, int] = KeyedLogic(
        lambda state, event, watermark: (Count(0, watermark), None),
        lambda state: (None, Outcome((), result=state.n)),
        lambda key, value: 1,
        lambda s: b"%d" % s.n,
        lambda b: Count(int(b)),
    )
    one = KeyGroup(expiring)
    one.process([[Record(NOW, 0, b"k", b"", None)]])
    assert one.process([NOW + 1]).results == [0]


def test_a_mapper_may_drop_a_state() -> None:
    dropping: KeyedLogic[Count, int, int] = KeyedLogic(
        lambda state, event, watermark: (None, None) if state else (Count(event, watermark), None),
        lambda state: (None, None),
        lambda key, value: 1,
        lambda s: b"%d" % s.n,
        lambda b: Count(int(b)),
    )
    one = KeyGroup(dropping)
    record = Record(NOW, 0, b"k", b"", None)
    one.process([[record]])
    one.snapshot()
    one.process([[record]])
    assert len(one) == 0
    one.process([[record], NOW + 1])
    assert len(one) == 0
    assert one.snapshot() == {**KeyGroup(dropping).snapshot(), "watermark": NOW + 1}


def test_states_are_resumed_under_a_schema_with_a_new_field() -> None:
    one = KeyGroup(visits(b"closed pages"))
    one.process([[Record(NOW, 0, b"closed", b"", None)], NOW + 1])
    one.process([[Record(NOW + 1, 1, b"open", b"", None)]])
    newer = visits(b"closed pages clicks")
    resumed = KeyGroup(newer, one.snapshot())
    resumed_again = KeyGroup(newer, resumed.snapshot())

    for each in (resumed, resumed_again):
        batch = [Record(NOW + 1, 2, key, b"", None) for key in (b"closed", b"open", b"new")]
        assert each.process([batch]).results == [b"1 2 10", b"0 2 10", b"0 1 0"]


def test_states_under_the_current_schema_are_not_adapted() -> None:
    def adapt(data: bytes, schema: bytes) -> bytes:
        raise AssertionError(schema)

    one = KeyGroup(visits(b"closed pages"))
    one.process([[Record(NOW, 0, b"closed", b"", None)], NOW + 1])
    one.process([[Record(NOW + 1, 1, b"open", b"", None)]])
    assert len(KeyGroup(replace(visits(b"closed pages"), adapt=adapt), one.snapshot())) == 2


class Visits:
    """A state of numbers, named by the schema."""

    def __init__(self, numbers: list[int], deadline: int | None = None) -> None:
        self.numbers, self.deadline = numbers, deadline


def visits(schema: bytes) -> KeyedLogic[Visits, None, bytes]:
    """Counts pages, and closes a state at its first deadline. States from before the count of clicks get 10 of them."""

    def dump(state: Visits) -> bytes:
        return b" ".join(b"%d" % number for number in state.numbers)

    def visit(state: Visits | None, event: None, watermark: int) -> tuple[Visits, Outcome[bytes]]:
        closed, seen, *more = [0] * len(schema.split()) if state is None else state.numbers
        state = Visits([closed, seen + 1, *more], watermark + closed)
        return state, Outcome((), result=dump(state))

    def adapt(data: bytes, old: bytes) -> bytes:
        assert old == b"closed pages"
        return data + b" 10"

    return KeyedLogic(
        visit,
        lambda state: (None if state.numbers[0] else Visits([1, *state.numbers[1:]], NOW + DAY), None),
        lambda key, value: None,
        dump,
        lambda data: Visits([int(number) for number in data.split()]),
        is_closed=lambda data: data.startswith(b"1"),
        schema=schema,
        adapt=adapt,
    )
