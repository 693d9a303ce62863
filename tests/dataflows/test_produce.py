"""The whole dataflow `trip-event-producer` between testing ends."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import polars as pl
from bytewax.testing import TestingSink

from chillflow.model.codec import encode
from chillflow.model.messages import Message
from chillflow.production.event_frames import event_frames
from chillflow.production.rejected import RejectedRow
from chillflow.production.replay import replay_columns
from chillflow.production.replay_source import ReplaySource
from chillflow.production.screening import Screen
from chillflow.production.splitting import split
from dataflows.produce import FLOW_ID, Keyed, build
from tests.dataflows.conftest import Run
from tests.dataflows.vocabulary import BEGINNING, settings, trip
from tests.trip_rows import frame, to_row

SCREEN = Screen(datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=1), timedelta(days=8))


def sent(run: Run, *frames: pl.DataFrame | RejectedRow) -> list[Message]:
    out: list[Keyed] = []
    source = ReplaySource(lambda: replay_columns(event_frames(frames, SCREEN, origin="trips.parquet")))
    run(build(source, TestingSink(out), settings()))
    assert {key for key, _ in out} <= {FLOW_ID}
    return [message for _, messages in out for message in messages]


def test_trips_become_their_events_in_event_time_order(run: Run) -> None:
    trips = [trip(number) for number in range(50)]

    messages = sent(run, frame(map(to_row, trips)))

    assert {message.topic for message in messages} == {"trip-events"}
    expected = {encode(event): event.trip_key.encode() for each in trips for event in split(each)}
    assert {message.value: message.key for message in messages} == expected
    assert len(messages) == 250
    times = [message.timestamp or 0 for message in messages]
    assert times == sorted(times)
    assert times[0] == BEGINNING.timestamp() * 1000


def test_rejected_rows_are_dead_letters_among_them(run: Run) -> None:
    good, other = (to_row(trip(number)) for number in (1, 2))
    long = to_row(trip(3, dropoff_ts=BEGINNING + timedelta(days=9)))
    future = to_row(trip(4, pickup_ts=datetime(2099, 1, 1, tzinfo=UTC), dropoff_ts=BEGINNING.replace(year=2099)))
    unreadable = RejectedRow("trips.parquet", 5, "passenger_count: 1.5 is not a 32-bit integer", b"{}")

    messages = sent(run, frame([good]), unreadable, frame([other, long, future]))

    letters = [dict(message.headers) for message in messages if message.topic == "trip-events.dlq"]
    assert len(messages) == 10 + len(letters)
    assert sorted(letter["row"] for letter in letters) == [b"5", b"trip-3", b"trip-4"]
    assert {letter["stage"] for letter in letters} == {b"read"}
    assert {letter["file"] for letter in letters} == {b"trips.parquet"}


def test_nothing_in_nothing_out(run: Run) -> None:
    start = time.monotonic()

    assert sent(run) == []
    assert time.monotonic() - start < 10
