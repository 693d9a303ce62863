"""Packed trip states: a round trip, and states of other schemas made current."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.assembly.rules import Assembly
from chillflow.assembly.state_codec import SCHEMA, VERSION, adapt, dump, is_closed, load
from chillflow.assembly.trip_building import complete_trip
from chillflow.assembly.trip_state import COMPLETE, COUNTED, INCOMPLETE, OPEN, TripState
from chillflow.errors import RecoveryError
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.model.codec import decode, encode
from chillflow.model.events import EVENT_TYPES, DecodedEvent, Event
from chillflow.model.trips import CompleteTrip
from chillflow.production.splitting import split
from tests.unit.vocabulary import (
    BEGINNING,
    NOW,
    TEN_MINUTES_LATER,
    assembly,
    events,
    exit_event,
    five,
    payment_event,
    start_event,
    trip,
    trips,
)

GOLDEN = Path(__file__).parent / "golden" / f"trip_states_v{VERSION}.txt"


@given(events(), events(), events(), st.sampled_from([OPEN, INCOMPLETE]), st.integers(0, 2**31 - 1))
@settings(max_examples=150, deadline=None)
def test_open_and_incomplete_states_survive(one: Event, two: Event, three: Event, status: int, revision: int) -> None:
    held: list[Any] = [None] * len(EVENT_TYPES)
    for event in (one, two, three):
        of_one_trip = event.model_copy(update={"trip_key": one.trip_key})
        held[EVENT_TYPES.index(event.event_type)] = decode(encode(of_one_trip))
    vacant = sum(1 << kind for kind, event in enumerate(held) if event is None) if status == OPEN else 0
    packed = dump(TripState(NOW, status, revision, held, vacant))
    assert load(packed) == TripState(None, status, revision, held, vacant)
    assert dump(load(packed)) == packed
    assert is_closed(packed) is (status != OPEN)


@given(trips(), st.permutations(range(5)), st.integers(3, 5), st.integers(0, 2))
@settings(max_examples=150, deadline=None)
def test_complete_states_survive(one: CompleteTrip, order: list[int], count: int, version: int) -> None:
    rules, state = assembly(), None
    made = [event.model_copy(update={"event_version": version, "event_id": ""}) for event in split(one)]
    for kind in order[:count]:
        state, _ = rules.assemble(state, decode(encode(made[kind])), NO_WATERMARK)
    assert state is not None
    packed = dump(state)
    again = load(packed)
    again.deadline = state.deadline
    assert again == state
    assert dump(again) == packed


def states() -> list[TripState]:
    """The states in the golden file: an open trip, an incomplete one, a complete one with all fields."""
    full = split(
        trip(
            extra_columns={"a": 1, "b": [1.5, "é", None, True], "c": {"d": 2}},
            store_and_fwd_flag="N",
            pickup_ts=BEGINNING + timedelta(microseconds=123),
            dropoff_ts=TEN_MINUTES_LATER,
            airport_fee=1.75,
        )
    )
    events: list[DecodedEvent | None] = [decode(encode(event)) for event in full]
    marks = ["started", None, ("entered", 1), "paid", ("ended", 2)]
    complete = TripState(None, COMPLETE, 7, [], 0, COUNTED, complete_trip(events, 7), marks)
    incomplete = [decode(encode(event)) for event in (exit_event(), payment_event())]
    return [
        TripState(None, OPEN, 0, [decode(encode(start_event())), None, None, None, None], 0b11110),
        TripState(None, INCOMPLETE, 1, [None, incomplete[0], None, incomplete[1], None]),
        complete,
    ]


def without_ids(state: TripState) -> TripState:
    """The state without its `event_id`s: those of an event type change with its fields."""
    kept: Any = [event and msgspec.structs.replace(event, event_id="") for event in state.events]  # type: ignore[type-var]
    return replace(state, events=kept)


def test_states_of_the_golden_file_are_read() -> None:
    # If this file cannot be read any more, recovery stores of released versions cannot either: change VERSION, keep it.
    schema, *rows = GOLDEN.read_text().split("\n")[:4]
    packed = [bytes.fromhex(row) for row in rows]
    found = [load(adapt(row, schema.encode())) for row in packed]
    assert [without_ids(state) for state in found] == [without_ids(state) for state in states()]
    if schema.encode() == SCHEMA:
        assert [*map(dump, states())] == packed


# States written under other schemas


def cut(data: bytes, names: dict[str, list[str]], *gone: str) -> bytes:
    """A packed state without the values of these fields."""

    def less(row: Any, fields: list[str]) -> Any:
        return row and [value for value, name in zip(row, fields, strict=True) if name not in gone]

    values: Any = msgspec.msgpack.decode(data)
    if values[0] == COMPLETE:
        values[2] = less(values[2], names["trip"])
    else:
        values[3] = [less(row, names[event_type]) for row, event_type in zip(values[3], EVENT_TYPES, strict=True)]
    return msgspec.msgpack.encode(values)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The schema with a change."""
    schema = json.loads(SCHEMA)
    change(schema)
    return json.dumps(schema).encode()


@pytest.mark.parametrize(
    ("field", "carrying"), [("airport_fee", "payment_processed"), ("passenger_count", "trip_started")]
)
@pytest.mark.parametrize("count", [2, 4, 5])
def test_a_field_that_was_not_there_has_its_default(field: str, carrying: str, count: int) -> None:
    def remove(schema: dict[str, Any]) -> None:
        schema["events"][carrying].remove(field)
        schema["trip"].remove(field)

    now = json.loads(SCHEMA)
    made = [decode(encode(event)) for event in (payment_event(airport_fee=1.5), *five()[:3], five()[4])]
    rules, state = assembly(), None
    for event in made[:count]:
        state, _ = rules.assemble(state, event, NO_WATERMARK)
    assert state is not None
    old = cut(dump(state), {**now["events"], "trip": now["trip"]}, field)
    again = load(adapt(old, changed(remove)))
    again.deadline = NOW
    assert {getattr(each, field, None) for each in (*again.events, again.trip)} == {None}
    later, outcome = correct(rules, again)
    assert later is not None
    assert outcome.result is None or getattr(outcome.result.trip, field) is None


def correct(rules: Assembly, state: TripState) -> Any:
    """A correction that names no fee and no passengers."""
    return rules.assemble(state, decode(encode(payment_event(event_version=1, total_amount=20.0))), NO_WATERMARK)


def test_fields_in_another_order_and_fields_that_are_gone() -> None:
    def reorder(schema: dict[str, Any]) -> None:
        schema["events"]["trip_started"] = ["gone", *reversed(schema["events"]["trip_started"])]

    state = states()[0]
    values: Any = msgspec.msgpack.decode(dump(state))
    values[3][0] = ["a value", *reversed(values[3][0])]
    assert load(adapt(msgspec.msgpack.encode(values), changed(reorder))) == state


def test_an_event_type_that_was_not_there() -> None:
    state = states()[2]
    values: Any = msgspec.msgpack.decode(dump(state))
    del values[3 + EVENT_TYPES.index("zone_exited")]
    again = load(adapt(msgspec.msgpack.encode(values), changed(lambda schema: schema["events"].pop("zone_exited"))))
    assert again == state
    state = states()[0]
    values = msgspec.msgpack.decode(dump(state))
    del values[3][EVENT_TYPES.index("zone_exited")]
    again = load(adapt(msgspec.msgpack.encode(values), changed(lambda schema: schema["events"].pop("zone_exited"))))
    assert again == state


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda schema: schema.update(version=VERSION + 1), f"trip states of version {VERSION + 1}"),
        (lambda schema: schema["events"].pop("trip_ended"), "without trip_ended.*chillflow-stream reset"),
        (lambda schema: schema["events"].update(other=["event_id"]), "unknown types: other"),
        (lambda schema: schema["trip"].remove("pu_zone_id"), "lacks pu_zone_id"),
    ],
)
def test_a_schema_that_cannot_be_adapted_is_refused(change: Callable[[dict[str, Any]], object], reason: str) -> None:
    with pytest.raises(RecoveryError, match=reason):
        adapt(dump(states()[0]), changed(change))
