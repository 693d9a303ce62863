"""The five events: their ids, what they refuse, and their structs."""

from datetime import datetime
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from chillflow.model.codec import decode_value, encode
from chillflow.model.events import (
    EVENT_CLASSES,
    EVENT_TYPES,
    DecodedEnd,
    DecodedEvent,
    DecodedPayment,
    DecodedStart,
    Event,
    PaymentProcessedEvent,
    TripEndedEvent,
    TripEvent,
    TripStartedEvent,
    event_adapter,
)
from chillflow.model.structs import parse_time
from tests.unit.vocabulary import (
    BEGINNING,
    KEY,
    ONE_MINUTE_LATER,
    end_event,
    events,
    exit_event,
    five,
    protocol_names,
    start_event,
)


def test_event_types_on_the_wire() -> None:
    assert EVENT_TYPES == ("trip_started", "zone_exited", "zone_entered", "payment_processed", "trip_ended")


@given(events())
@settings(max_examples=150, deadline=None)
def test_the_same_content_has_the_same_id(event: Event) -> None:
    values = event.model_dump(exclude={"event_id"})
    assert type(event)(**values).event_id == event.event_id
    assert len(event.event_id) == 32


@pytest.mark.parametrize("event", five(), ids=lambda event: event.event_type)
def test_other_content_has_another_id(event: TripEvent) -> None:
    ids = {event.event_id}
    others: dict[Any, Any] = {"service": "yellow", "store_and_fwd_flag": "N", "extra_columns": {"a": 1}}
    changeable = [name for name in type(event).model_fields if name not in ("event_id", "event_type", "schema_version")]
    for name in changeable:
        other = others.get(name, ONE_MINUTE_LATER if name.endswith(("_ts", "_time")) else 55)
        values = {**event.model_dump(exclude={"event_id"}), name: "55" if name == "trip_key" else other}
        ids.add(type(event)(**values).event_id)
    assert len(ids) == 1 + len(changeable)


def test_events_of_one_trip_have_different_ids() -> None:
    assert len({event.event_id for event in five()}) == 5


@pytest.mark.parametrize("event", five(), ids=lambda event: event.event_type)
def test_the_wire_format_is_flat_with_the_fields_in_order(event: Event) -> None:
    value = decode_value(encode(event))
    assert [*value] == [*type(event).model_fields]
    assert value == event_adapter.dump_python(event, mode="json")


@pytest.mark.parametrize("cls", EVENT_CLASSES)
def test_the_struct_has_the_fields_of_the_model(cls: type[TripEvent]) -> None:
    assert cls.struct.__struct_fields__ == tuple(name for name in cls.model_fields if name != "event_type")
    assert cast("type[msgspec.Struct]", cls.struct).__struct_config__.tag == cls.model_fields["event_type"].default


@pytest.mark.parametrize(
    ("protocol", "classes"),
    [
        (DecodedEvent, EVENT_CLASSES),
        (DecodedStart, [TripStartedEvent]),
        (DecodedPayment, [PaymentProcessedEvent]),
        (DecodedEnd, [TripEndedEvent]),
    ],
)
def test_the_struct_has_the_fields_of_its_protocol(protocol: type, classes: list[type[TripEvent]]) -> None:
    for cls in classes:
        assert protocol_names(protocol) <= {*cls.struct.__struct_fields__}


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_time": "2024-01-01T00:00:00"},
        {"event_time": datetime(2024, 1, 1)},  # noqa: DTZ001
        {"event_time": 1704067200},
        {"event_time": "0001-01-01T00:00:00+14:00"},
        {"pickup_ts": None},
        {"pu_zone_id": "132"},
        {"pu_zone_id": 132.0},
        {"pu_zone_id": True},
        {"pu_zone_id": -(2**31) - 1},
        {"trip_key": ""},
        {"trip_key": None},
        {"trip_key": "\ud800"},
        {"event_version": -1},
        {"event_version": 2**31},
        {"schema_version": 2},
        {"schema_version": True},
        {"event_type": "trip_started"},
    ],
)
def test_an_invalid_event_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        exit_event(**wrong)


def test_empty_extra_columns_are_null() -> None:
    assert end_event(extra_columns={}).event_id == end_event(extra_columns={"a": None}).event_id == end_event().event_id


def test_unknown_fields_are_ignored() -> None:
    assert start_event(later=1) == start_event()


def test_times_may_be_text() -> None:
    assert start_event(event_time="2024-01-01T07:00:00-05:00", pickup_ts="2024-01-01T12:00:00Z") == start_event()


def test_parse_time_requires_an_offset() -> None:
    assert parse_time("2024-01-01T12:00:00Z") == BEGINNING
    for text in ("2024-01-01T12:00:00", "12:00", ""):
        with pytest.raises(ValueError):
            parse_time(text)


def test_an_event_is_immutable() -> None:
    with pytest.raises(ValidationError):
        start_event().trip_key = KEY  # type: ignore[misc]
