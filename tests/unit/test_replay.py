"""Which trips are replayed, why others are not, and what is sent of both."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from chillflow.model.messages import Message, dead_letter
from chillflow.production.replay import RejectedRow, Replayed, Screen, replay
from chillflow.production.splitting import TripRow, to_row
from tests.unit.vocabulary import BEGINNING, KEY, five, messages, trip

NOW = BEGINNING + timedelta(days=30)
SCREEN = Screen(NOW, timedelta(hours=1), timedelta(days=8))
NO_TRIP = RejectedRow("file", 7, "passenger_count: 1.5", b'{"passenger_count":1.5}')


def row(number: int, minutes: float = 10) -> TripRow:
    begin = BEGINNING + timedelta(minutes=number)
    return to_row(trip(trip_key=str(number), pickup_ts=begin, dropoff_ts=begin + timedelta(minutes=minutes)))


def keys(replayed: list[Replayed]) -> list[str]:
    return [item.key.decode() for item in replayed if not isinstance(item, RejectedRow) and 0 in item.kinds]


def rejected(replayed: list[Replayed]) -> list[RejectedRow]:
    return [item for item in replayed if isinstance(item, RejectedRow)]


@pytest.mark.parametrize("limit", [0, 1, 3, 5, 9, None])
def test_limit_counts_trips_alone(limit: int | None) -> None:
    far = to_row(trip(trip_key="far", dropoff_ts=BEGINNING + timedelta(days=9)))
    source = [NO_TRIP, row(0), far, NO_TRIP, row(1), row(2), NO_TRIP, row(3), row(4), NO_TRIP]
    replayed = [*replay(source, SCREEN, origin="file", limit=limit)]
    wanted = ["0", "1", "2", "3", "4"][:limit]
    assert keys(replayed) == wanted
    assert len(replayed) - len(rejected(replayed)) == 2 * len(wanted)
    if limit is None or limit > 5:
        assert len(rejected(replayed)) == 5


def test_no_more_is_read_than_the_limit_needs() -> None:
    read = 0

    def source() -> Iterator[TripRow]:
        nonlocal read
        for number in range(1000):
            read += 1
            yield row(number)

    assert len(keys([*replay(source(), SCREEN, origin="file", limit=5)])) == 5
    assert read <= 6


def test_rejected_rows_come_even_without_trips() -> None:
    assert [*replay([NO_TRIP, NO_TRIP], SCREEN, origin="file")] == [NO_TRIP, NO_TRIP]


@pytest.mark.parametrize(
    ("pickup", "dropoff", "why"),
    [
        (timedelta(0), timedelta(days=8), None),
        (timedelta(0), timedelta(days=-8), None),
        (timedelta(0), timedelta(days=8, microseconds=1), "pickup and drop-off lie more than 192 h apart"),
        (timedelta(0), timedelta(days=-8, microseconds=-1), "pickup and drop-off lie more than 192 h apart"),
        (timedelta(days=29), timedelta(days=30, hours=1), None),
        (timedelta(days=29), timedelta(days=30, hours=1, microseconds=1), "dated more than 1 h in the future"),
        (timedelta(days=31), timedelta(days=29), "dated more than 1 h in the future"),
        (timedelta(days=-4000), timedelta(days=-4000), None),
    ],
)
def test_why_a_trip_cannot_be_replayed(pickup: timedelta, dropoff: timedelta, why: str | None) -> None:
    one = to_row(trip(pickup_ts=BEGINNING + pickup, dropoff_ts=BEGINNING + dropoff))
    assert SCREEN.reason(one) == why
    replayed = [*replay([one], SCREEN, origin="file")]
    assert [(each.reason, each.file, each.row) for each in rejected(replayed)] == ([(why, "file", KEY)] if why else [])


def test_a_rejected_trip_is_not_lost() -> None:
    one = to_row(trip(dropoff_ts=BEGINNING + timedelta(days=9)))
    (message,) = messages(replay([one], SCREEN, origin="file"))
    value = json.loads(message.value or b"")
    assert (value["trip_key"], value["fare_amount"], value["dropoff_ts"]) == (KEY, 12.8, "2024-01-10T12:00:00Z")


def test_what_is_sent() -> None:
    letter, *events = messages(replay([NO_TRIP, to_row(trip())], SCREEN, origin="file"))
    assert letter == Message(
        "dlq",
        None,
        NO_TRIP.value,
        None,
        (("stage", b"read"), ("reason", b"passenger_count: 1.5"), ("file", b"file"), ("row", b"7")),
    )
    assert [message.topic for message in events] == ["events"] * 5
    assert len({message.value for message in events}) == len(five())


def test_a_dead_letter_says_from_where() -> None:
    letter = dead_letter(
        "dlq", "decode", "why", key=b"k", value=None, headers=(("h", b"x"),), topic="t", partition=1, offset=0
    )
    where = (("topic", b"t"), ("partition", b"1"), ("offset", b"0"))
    assert letter == Message("dlq", b"k", None, None, (("h", b"x"), ("stage", b"decode"), ("reason", b"why"), *where))
