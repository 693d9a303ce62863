"""A trip is split into five events that carry all its fields."""

from hypothesis import given, settings

from chillflow.model.codec import decode, encode
from chillflow.model.events import EVENT_CLASSES, EVENT_TYPES
from chillflow.model.trips import CompleteTrip
from chillflow.production.splitting import Events, PlacedEvent, encode_events, split
from chillflow.production.trip_frames import ROW_FIELDS
from tests.unit.vocabulary import BEGINNING, TEN_MINUTES_LATER, five, trip, trips


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
@settings(max_examples=100, deadline=None)
def test_five_different_events_of_one_trip(one: CompleteTrip) -> None:
    values = [encode(event) for event in split(one)]
    assert len(set(values)) == 5
    assert {decode(value).trip_key for value in values} == {one.trip_key}


def test_single_events_in_columns() -> None:
    placed = [PlacedEvent(7, 5, 0, b"k", b"{}"), PlacedEvent(9, 9000, 4, b"l", b"[]")]
    events = Events.of(placed)
    assert events == Events([5, 9000], [0, 4], [b"k", b"l"], [b"{}", b"[]"])
    first, second = encode_events(events, "t")
    assert (first.topic, first.key, first.timestamp) == ("t", b"k", 0)
    assert (second.key, second.timestamp) == (b"l", 9)
    assert placed[0].moved(8) == PlacedEvent(8, 5, 0, b"k", b"{}")
    assert placed[0].moved(7) is placed[0]
