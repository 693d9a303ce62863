"""A key group gives the same however its records are batched, cut by snapshots, or followed by progress."""

import ast
import re
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.assembly.account import difference
from chillflow.assembly.tallies import ACCOUNT
from chillflow.errors import RecoveryError
from chillflow.keyed.batches import Record
from chillflow.keyed.closed_states import ClosedStates, due_of
from chillflow.keyed.group import VERSION, KeyedLogic, KeyGroup
from chillflow.keyed.outcomes import DeadRecord as DeadRecord
from chillflow.keyed.outcomes import Outcome
from chillflow.keyed.watermark import NO_WATERMARK, WatermarkTracker
from chillflow.model.codec import encode_value
from chillflow.model.events import TripEvent
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
    """Events of some trips, shuffled, repeated, corrected and dropped, over weeks of stream time; and some rubbish."""
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
    time = WatermarkTracker(draw(st.integers(1, 4)))
    made = records(events, [time.observe(milliseconds(event.event_time)) for event in events])
    for at in draw(st.lists(st.integers(0, len(made)), max_size=2)):
        watermark = made[at].watermark if at < len(made) else time.now
        made.insert(at, Record(watermark, -1, draw(st.sampled_from([b"trip 1", None])), b"rubbish", None))
    return made


Said = dict[str, Any]


def run(
    log: list[Record],
    cuts: Collection[int] = (),
    snapshots: Collection[int] = (),
    hints: Collection[int] = (),
) -> Said:
    """What a group says of a log that is cut into batches, restored from snapshots, and hears of progress."""
    account = Counter(dict.fromkeys(ACCOUNT, 0))
    results: dict[str, list[Any]] = {}
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


def states_in(snapshot: Any) -> dict[bytes, bytes]:
    """The states of a snapshot, however they lie in it."""
    remembered = ClosedStates(snapshot=snapshot["remembered"], watermark=snapshot["stamp"])
    pieces = [msgspec.msgpack.decode(piece, type=dict[bytes, bytes]) for piece in snapshot["states"]]
    assert len({key for piece in pieces for key in piece}) == sum(map(len, pieces))
    return {key: state for piece in pieces for key, state in piece.items()} | dict(remembered.items(snapshot["stamp"]))


@given(logs(), st.data())
@settings(max_examples=150, deadline=None)
def test_batches_and_snapshots_do_not_matter(log: list[Record], data: st.DataObject) -> None:
    places = st.sets(st.integers(0, max(len(log) - 1, 0)))
    whole = run(log)
    assert run(log, cuts=data.draw(places), snapshots=data.draw(places)) == whole
    assert run(log, snapshots=set(range(len(log)))) == whole


@given(logs(), st.data())
@settings(max_examples=150, deadline=None)
def test_hearing_of_progress_does_not_matter(log: list[Record], data: st.DataObject) -> None:
    # What a state is may be seen sooner, so states and account are compared at one time at the end.
    hints = data.draw(st.sets(st.integers(0, max(len(log) - 1, 0))))
    assert run(log, hints={*hints, len(log) - 1}) == run(log, hints={len(log) - 1})


@given(logs())
@settings(max_examples=100, deadline=None)
def test_no_state_is_left(log: list[Record]) -> None:
    one = group()
    account = Counter(dict.fromkeys(ACCOUNT, 0))
    account.update(one.process([log, NOW + 60 * DAY, NOW + 90 * DAY]).tally)
    assert len(one) == 0
    assert one.snapshot() == {**group().snapshot(), "stamp": NOW + 90 * DAY}
    assert not [*one._deadlines]
    assert account["open_trips"] == account["events_in_open"] == 0
    assert difference(account) == 0


@given(logs(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_arrival_does_not_matter_within_the_horizons(log: list[Record], random: Any) -> None:
    def outcome(order: list[Record]) -> dict[str, Any]:
        said = run([record._replace(watermark=NOW) for record in order])
        return {
            key: {n: getattr(seen[-1].trip, n) for n in seen[-1].trip.__struct_fields__ if n != "revision"}
            for key, seen in said["results"].items()
        }

    shuffled = log.copy()
    random.shuffle(shuffled)
    assert outcome(shuffled) == outcome(log)


@given(st.lists(st.tuples(trips(), st.integers(0, 60)), min_size=1, max_size=4), st.data())
@settings(max_examples=150, deadline=None)
def test_the_shortcut_comes_to_the_same(made: list[tuple[CompleteTrip, int]], data: st.DataObject) -> None:
    """Legs as our producers send them, some cut in two, turned or repeated, and whole trips; each event by itself."""
    fives = [split(moved(one, hours)) for one, hours in made]
    legs = [events for five in fives for events in (five[:2], five[2:])]
    order: list[Any] = sorted(legs, key=lambda leg: leg[0].event_time)
    for five in data.draw(st.lists(st.sampled_from(fives), max_size=4)):
        order.insert(data.draw(st.integers(0, len(order))), five)
    log = [event for leg in order for event in data.draw(st.sampled_from([leg, leg, leg, leg[:1], leg[::-1], leg * 2]))]
    time = WatermarkTracker(data.draw(st.integers(1, 4)))
    with_watermarks = records(log, [time.observe(milliseconds(event.event_time)) for event in log])
    assert run(with_watermarks) == run(with_watermarks, cuts=range(len(with_watermarks)))
    snapshots = data.draw(st.sets(st.integers(0, len(with_watermarks) - 1)))
    assert run(with_watermarks, snapshots=snapshots) == run(with_watermarks)


ALTERED: dict[str, Callable[[Record], Record]] = {
    "another offset from UTC": lambda record: _said(record, rb'("\w+_t(?:s|ime)":"[^"]+)Z"', rb'\1+00:01"'),
    "another event time": lambda record: _said(record, rb'("event_time":"[^"]+):\d\dZ"', rb'\1:59Z"'),
    "another key": lambda record: record._replace(key=b"another"),
    "no key": lambda record: record._replace(key=None),
    "another trip": lambda record: _said(record, rb'"trip_key":"', rb'"trip_key":"x'),
    "a correction": lambda record: _said(record, rb'"event_version":0', rb'"event_version":1'),
    "another zone": lambda record: _said(record, rb'_zone_id":\d+', rb'_zone_id":7'),
    "extra columns": lambda record: _said(record, rb'"extra_columns":null', rb'"extra_columns":{"a":1.0}'),
    "an unknown field": lambda record: _said(record, rb"}$", ',"more":"é"}'.encode()),
    "other spaces": lambda record: _said(record, rb'":', rb'" : '),
    "money of no table": lambda record: _said(record, rb'"total_amount":[\d.]+', rb'"total_amount":1e20'),
    "a number that is none": lambda record: _said(record, rb'_zone_id":\d+', rb'_zone_id":"7"'),
    "no JSON": lambda record: record._replace(value=b"{"),
    "no text": lambda record: _said(record, rb'"event_id":"', b'"event_id":"\xe4'),
    "too deep": lambda record: record._replace(value=b"[" * 100_000),
    "no value": lambda record: record._replace(value=None),
}


def _said(record: Record, pattern: bytes, instead: bytes) -> Record:
    return record._replace(value=re.sub(pattern, instead, record.value or b""))


@pytest.mark.parametrize("what", ALTERED)
@pytest.mark.parametrize("places", [(0,), (1,), (2,), (3,), (4,), (0, 1), (2, 3, 4), (0, 1, 2, 3, 4)])
def test_the_shortcut_leaves_what_is_unusual(what: str, places: tuple[int, ...]) -> None:
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

    def shortcut(stretch: Any, start: int) -> int:
        end = rules._shortcut(stretch, start)
        taken.append(end - start)
        return end

    keyed_so = replace(keyed(), shortcut=shortcut)
    one: KeyGroup[Any, Any] = KeyGroup(keyed_so)
    decided = one.process([records([event for key in "aba" for event in split(trip(trip_key=key))])])
    assert taken[0] == 10
    assert len(decided.results) == 2
    assert decided.tally["duplicates"] == 5  # a trip that has been completed in the same stretch is known


def test_a_snapshot_is_plain_data() -> None:
    one = group()
    one.process([records([start_event(), end_event()])])
    snapshot = one.snapshot()
    assert ast.literal_eval(repr(snapshot)) == snapshot
    ((key, held),) = states_in(snapshot).items()
    assert key == start_event().trip_key.encode()
    assert due_of(held) == NOW + 25 * HOUR


@pytest.mark.parametrize("deadline", [None, 2**63 - 1, 2**64])
def test_a_state_without_an_end_stays(deadline: int | None) -> None:
    def visit(state: Count | None, event: int, watermark: int) -> tuple[Count, None]:
        return Count(event, deadline), None

    counting: KeyedLogic[Count, int] = KeyedLogic(
        visit, lambda state: (None, None), lambda key, value: 1, lambda s: b"%d" % s.n, lambda b: Count(int(b))
    )
    one: KeyGroup[Count, int] = KeyGroup(counting)
    one.process([[Record(NOW, 0, b"k", b"", None)]])
    again = KeyGroup(counting, one.snapshot())
    again.process([2**63 - 1])
    assert len(again) == 1


def test_a_snapshot_of_a_newer_release_is_refused() -> None:
    with pytest.raises(RecoveryError, match=f"version {VERSION + 1}"):
        KeyGroup(keyed(), {"version": VERSION + 1, "states": b""})


def test_groups_with_the_same_deadline_expire_in_the_order_of_their_keys() -> None:
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
    def count(state: Count | None, event: int, watermark: int) -> tuple[Count, Outcome]:
        state = state if state is not None else Count(0)
        state.n += event
        return state, Outcome((), result=state.n)

    counting: KeyedLogic[Count, int] = KeyedLogic(
        count,
        lambda state: (state, None),
        lambda key, value: int(value or 0),
        lambda s: b"%d" % s.n,
        lambda b: Count(int(b)),
    )
    one: KeyGroup[Count, int] = KeyGroup(counting)
    made = [Record(NOW, 0, b"k", value, None) for value in (b"0", b"2", b"x", b"-2", b"1")]
    assert one.process([made[:2]]).results == [0, 2]
    one.snapshot()
    assert one.process([made[2:]]).results == [0, 1]


def test_a_mapper_may_forget_a_key() -> None:
    forgetting: KeyedLogic[Count, int] = KeyedLogic(
        lambda state, event, watermark: (None, None) if state else (Count(event, watermark), None),
        lambda state: (None, None),
        lambda key, value: 1,
        lambda s: b"%d" % s.n,
        lambda b: Count(int(b)),
    )
    one: KeyGroup[Count, int] = KeyGroup(forgetting)
    record = Record(NOW, 0, b"k", b"", None)
    one.process([[record]])
    one.snapshot()
    one.process([[record]])
    assert len(one) == 0
    one.process([[record], NOW + 1])
    assert len(one) == 0
    assert one.snapshot() == {**group().snapshot(), "stamp": NOW + 1}
