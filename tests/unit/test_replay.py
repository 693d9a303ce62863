"""Which trips are replayed, why others are rejected, and what is sent of both."""

import json
from datetime import timedelta

import pytest

from chillflow.model.messages import Message, dead_letter
from chillflow.production.event_frames import event_frames
from chillflow.production.rejected import RejectedRow
from chillflow.production.replay import Replayed, replay_singly
from chillflow.production.screening import Screen
from chillflow.production.trip_frames import TripRow
from tests.trip_rows import frame, to_row
from tests.unit.vocabulary import BEGINNING, KEY, five, messages, trip

NOW = BEGINNING + timedelta(days=30)
SCREEN = Screen(NOW, timedelta(hours=1), timedelta(days=8))
NO_TRIP = RejectedRow("file", 7, "passenger_count: 1.5", b'{"passenger_count":1.5}')


def replay(*source: TripRow | RejectedRow) -> list[Replayed]:
    """Everything that is replayed, each row from a frame of its own."""
    frames = (item if isinstance(item, RejectedRow) else frame([item]) for item in source)
    return [*replay_singly(event_frames(frames, SCREEN, origin="file"))]


def rejected(replayed: list[Replayed]) -> list[RejectedRow]:
    return [item for item in replayed if isinstance(item, RejectedRow)]


@pytest.mark.parametrize(
    ("pickup", "dropoff", "why"),
    [
        (timedelta(0), timedelta(days=8), None),
        (timedelta(0), timedelta(days=-8), None),
        (timedelta(0), timedelta(days=8, microseconds=1), "pickup and drop-off are more than 192 h apart"),
        (timedelta(0), timedelta(days=-8, microseconds=-1), "pickup and drop-off are more than 192 h apart"),
        (timedelta(days=29), timedelta(days=30, hours=1), None),
        (timedelta(days=29), timedelta(days=30, hours=1, microseconds=1), "dated more than 1 h in the future"),
        (timedelta(days=31), timedelta(days=29), "dated more than 1 h in the future"),
        (timedelta(days=-4000), timedelta(days=-4000), None),
    ],
)
def test_why_a_trip_is_rejected(pickup: timedelta, dropoff: timedelta, why: str | None) -> None:
    one = to_row(trip(pickup_ts=BEGINNING + pickup, dropoff_ts=BEGINNING + dropoff))
    assert frame([one]).select(SCREEN.refusal()).item() == why
    found = rejected(replay(one))
    assert [(each.reason, each.file, each.row) for each in found] == ([(why, "file", KEY)] if why else [])


def test_a_rejected_trip_is_not_lost() -> None:
    one = to_row(trip(dropoff_ts=BEGINNING + timedelta(days=9), extra_columns={"a": [1]}))
    (message,) = messages(replay(one))
    value = json.loads(message.value or b"")
    assert (value["trip_key"], value["fare_amount"], value["dropoff_ts"]) == (KEY, 12.8, "2024-01-10T12:00:00Z")
    assert value["extra_columns"] == {"a": [1]}


def test_a_rejected_row_is_sent_as_a_dead_letter() -> None:
    letter, *events = messages(replay(NO_TRIP, to_row(trip())))
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
