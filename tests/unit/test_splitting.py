"""One trip at a time and in bulk: the same bytes, in event-time order, five events a trip."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.model.codec import decode, encode
from chillflow.model.events import EVENT_CLASSES, EVENT_TYPES
from chillflow.model.trips import CompleteTrip, microseconds, milliseconds
from chillflow.production.splitting import ROW_FIELDS, Events, TripRow, schedule, split, to_row
from tests.unit.vocabulary import BEGINNING, ONE_MINUTE_LATER, TEN_MINUTES_LATER, five, messages, trip, trips

some = settings(max_examples=150, deadline=None)


def in_order(made: list[CompleteTrip]) -> list[TripRow]:
    """Rows as `schedule` takes them: in the order of their first time, the given order among equals."""
    return sorted(map(to_row, made), key=lambda row: min(row[:2]))


def test_split_gives_the_five_events_in_their_order() -> None:
    assert split(trip()) == five()
    assert tuple(event.event_type for event in split(trip())) == EVENT_TYPES


def test_the_first_two_happen_at_the_pickup() -> None:
    times = [event.event_time for event in split(trip())]
    assert times == [BEGINNING] * 2 + [TEN_MINUTES_LATER] * 3


def test_each_field_of_a_trip_is_carried() -> None:
    carried = {name for cls in EVENT_CLASSES for name in cls.model_fields}
    assert set(ROW_FIELDS) - {"pickup_us", "dropoff_us"} <= carried


@given(trips())
@some
def test_in_bulk_it_gives_the_same_bytes(one: CompleteTrip) -> None:
    bulk = messages([*schedule([to_row(one)])])
    singly = split(one)
    assert sorted(message.value or b"" for message in bulk) == sorted(map(encode, singly))
    for message in bulk:
        event = decode(message.value)
        assert message.key == one.trip_key.encode()
        assert message.timestamp == milliseconds(event.event_time)


@given(st.lists(trips(), max_size=6), st.timedeltas(timedelta(0), timedelta(minutes=20)))
@some
def test_in_event_time_order_five_a_trip(made: list[CompleteTrip], apart: timedelta) -> None:
    near = [
        one.model_copy(
            update={
                "trip_key": str(number),
                "pickup_ts": BEGINNING + number * apart,
                "dropoff_ts": BEGINNING + number * apart + (one.dropoff_ts - one.pickup_ts),
            }
        )
        for number, one in enumerate(made)
    ]
    legs = [*schedule(in_order(near))]
    assert [leg.time for leg in legs] == sorted(leg.time for leg in legs)
    sent = messages(legs)
    assert len({message.value for message in sent}) == len(sent) == 5 * len(near)
    assert {message.value for message in sent} == {encode(event) for one in near for event in split(one)}
    events = [decode(message.value) for message in sent]
    assert Events.of(legs).times == [microseconds(event.event_time) for event in events]
    assert [message.key for message in sent] == [event.trip_key.encode() for event in events]


def test_of_one_time_in_the_order_of_the_rows() -> None:
    one = trip(trip_key="1", dropoff_ts=ONE_MINUTE_LATER)
    two = trip(trip_key="2", pickup_ts=ONE_MINUTE_LATER, dropoff_ts=ONE_MINUTE_LATER)
    three = trip(trip_key="3", pickup_ts=TEN_MINUTES_LATER, dropoff_ts=ONE_MINUTE_LATER)
    legs = [(leg.key.decode(), leg.kinds[0]) for leg in schedule(map(to_row, (one, two, three)))]
    assert legs == [("1", 0), ("1", 2), ("2", 0), ("2", 2), ("3", 2), ("3", 0)]


@pytest.mark.parametrize("span", [timedelta(0), timedelta(microseconds=-1), timedelta(days=-7)])
def test_a_trip_that_ends_before_it_begins(span: timedelta) -> None:
    one = trip(dropoff_ts=BEGINNING + span)
    kinds = [kind for leg in schedule([to_row(one)]) for kind in leg.kinds]
    assert kinds == ([2, 3, 4, 0, 1] if span else [0, 1, 2, 3, 4])


def test_only_trips_under_way_are_held() -> None:
    read = 0

    def rows() -> Iterator[TripRow]:
        nonlocal read
        for number in range(1000):
            read += 1
            begin = BEGINNING + number * timedelta(minutes=1)
            yield to_row(trip(trip_key=str(number), pickup_ts=begin, dropoff_ts=begin + timedelta(seconds=90)))

    for given_out, _ in enumerate(schedule(rows())):
        assert read <= given_out / 2 + 3


def test_microseconds_are_kept_and_the_timestamp_is_in_whole_milliseconds() -> None:
    one = trip(pickup_ts=BEGINNING + timedelta(microseconds=1999))
    (message, *_) = messages([*schedule([to_row(one)])])
    assert b'"event_time":"2024-01-01T12:00:00.001999Z"' in (message.value or b"")
    assert message.timestamp == milliseconds(BEGINNING) + 1
