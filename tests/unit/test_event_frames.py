"""Frames of trips become the same trip_keys and messages, in the same order, as trips one by one."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.errors import InputError
from chillflow.model.codec import decode
from chillflow.model.messages import Message
from chillflow.model.trips import TRIP_FIELDS, CompleteTrip, microseconds
from chillflow.production import keying, screening, trip_frames
from chillflow.production.disorder import Disorder
from chillflow.production.event_frames import event_frames
from chillflow.production.keying import with_trip_keys
from chillflow.production.read_ahead import ahead
from chillflow.production.rejected import RejectedRow
from chillflow.production.replay import Replayed, ReplayStats, replay_columns, replay_singly
from chillflow.production.screening import Screen
from chillflow.production.splitting import Events, PlacedEvent, encode_events
from chillflow.production.trip_frames import TripRow, rows
from tests.trip_rows import expected_messages, frame, in_order, to_row
from tests.unit.vocabulary import BEGINNING, ONE_MINUTE_LATER, TEN_MINUTES_LATER, messages, trip, trips

NOW = BEGINNING + timedelta(days=30)
SCREEN = Screen(NOW, timedelta(hours=1), timedelta(days=8))
LATER = Screen(NOW.replace(year=2100), timedelta(hours=1), timedelta(days=8))
NO_TRIP = RejectedRow("file", 7, "passenger_count: 1.5", b'{"passenger_count":1.5}')
some = settings(max_examples=60, deadline=None)


def cut(listed: Sequence[TripRow], size: int) -> Iterator[pl.DataFrame]:
    return (frame(listed[start : start + size]) for start in range(0, len(listed), size))


def row(number: int, minutes: float = 10) -> TripRow:
    begin = BEGINNING + timedelta(minutes=number)
    return to_row(trip(trip_key=str(number), pickup_ts=begin, dropoff_ts=begin + timedelta(minutes=minutes)))


def singly(
    frames: Iterable[pl.DataFrame | RejectedRow],
    screen: Screen = SCREEN,
    limit: int | None = None,
    stats: ReplayStats | None = None,
    disorder: Disorder | None = None,
) -> Iterator[Replayed]:
    events = event_frames(frames, screen, origin="file", limit=limit)
    return replay_singly(events, disorder.apply if disorder else iter, stats)


def in_columns(frames: Iterable[pl.DataFrame | RejectedRow], screen: Screen = SCREEN) -> list[Message]:
    items = replay_columns(event_frames(frames, screen, origin="file"))
    return [message for item in items if isinstance(item, Events) for message in encode_events(item, "events")]


@pytest.fixture(autouse=True)
def _few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keying, "_MANY_ROWS", 3)
    monkeypatch.setattr(screening, "_MANY_ROWS", 3)
    monkeypatch.setattr(screening, "_REJECTED", 2)
    monkeypatch.setattr(trip_frames, "_ROWS", 2)
    monkeypatch.setattr("chillflow.production.event_frames._ROWS", 2)
    monkeypatch.setattr("chillflow.production.replay._EVENTS", 2)


ANY_KEY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.lists(trips() | trips(ANY_KEY), max_size=8), st.integers(1, 8))
@some
def test_the_messages_are_those_of_the_models(made: list[CompleteTrip], size: int) -> None:
    listed, stats = in_order(made), ReplayStats()
    expected = expected_messages(listed)
    assert in_columns(cut(listed, size), LATER) == expected
    assert messages(singly(cut(listed, size), LATER, stats=stats)) == expected
    assert stats.trips == len(made)
    for message in expected:
        event = decode(message.value)
        assert message.key == event.trip_key.encode()
        assert message.timestamp == microseconds(event.event_time) // 1000


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12), st.integers(1, 12))
@some
def test_events_of_one_time_are_in_the_order_of_their_rows(seconds: list[tuple[int, int]], size: int) -> None:
    times = [[BEGINNING + timedelta(seconds=second) for second in both] for both in seconds]
    made = [trip(trip_key=str(number), pickup_ts=p, dropoff_ts=d) for number, (p, d) in enumerate(times)]
    listed = in_order(made)
    assert in_columns(cut(listed, size)) == expected_messages(listed)


def test_events_at_equal_times() -> None:
    one = trip(trip_key="1", dropoff_ts=ONE_MINUTE_LATER)
    two = trip(trip_key="2", pickup_ts=ONE_MINUTE_LATER, dropoff_ts=ONE_MINUTE_LATER)
    three = trip(trip_key="3", pickup_ts=TEN_MINUTES_LATER, dropoff_ts=ONE_MINUTE_LATER)
    sent = [item for item in singly([frame(map(to_row, (one, two, three)))]) if isinstance(item, PlacedEvent)]
    kinds = [("1", (0, 1)), ("1", (2, 3, 4)), ("2", (0, 1, 2, 3, 4)), ("3", (2, 3, 4)), ("3", (0, 1))]
    assert [(event.key.decode(), event.kind) for event in sent] == [(key, kind) for key, some in kinds for kind in some]


@pytest.mark.parametrize("span", [timedelta(0), timedelta(microseconds=-1), timedelta(days=-7)])
def test_a_trip_that_ends_before_it_begins(span: timedelta) -> None:
    sent = singly([frame([to_row(trip(dropoff_ts=BEGINNING + span))])])
    kinds = [item.kind for item in sent if isinstance(item, PlacedEvent)]
    assert kinds == ([2, 3, 4, 0, 1] if span else [0, 1, 2, 3, 4])


def test_microseconds_are_kept_and_the_timestamp_is_in_whole_milliseconds() -> None:
    one = to_row(trip(pickup_ts=BEGINNING + timedelta(microseconds=1999)))
    (message, *_) = in_columns([frame([one])])
    assert b'"event_time":"2024-01-01T12:00:00.001999Z"' in (message.value or b"")
    assert message.timestamp == microseconds(BEGINNING) // 1000 + 1


def test_a_slice_of_waiting_events_does_not_keep_the_texts_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these frames has one long trip, whose events wait for days while all later frames pass."""
    monkeypatch.setattr(screening, "_MANY_ROWS", 10)
    monkeypatch.setattr("chillflow.production.event_frames._ROWS", 10)
    frames = [frame([row(10 * n, 9_000), *(row(10 * n + m, 1) for m in range(1, 10))]) for n in range(60)]
    *_, waiting = event_frames(frames, SCREEN, origin="file")
    assert isinstance(waiting, pl.DataFrame)
    contents = waiting.get_column("contents")
    assert contents.len() == 3 * 61  # and the last one of a minute
    views = contents.to_arrow(compat_level=pl.CompatLevel.newest())
    kept = sum(buffer.size for buffer in views.buffers()[2:] if buffer is not None)
    assert kept < 2 * contents.bin.size().sum()


def test_an_error_is_raised_after_the_frames_read_before_it() -> None:
    def frames() -> Iterator[pl.DataFrame]:
        try:
            yield frame([row(0)])
            raise InputError("near row 1")
        finally:
            closed.append(True)

    closed: list[bool] = []
    interval = sys.getswitchinterval()
    items = ahead(event_frames(frames(), SCREEN, origin="file"))
    read: list[object] = []
    with pytest.raises(InputError, match="near row 1"):
        read.extend(items)
    assert closed
    assert sys.getswitchinterval() == interval


def test_closing_early_closes_the_source() -> None:
    closed: list[bool] = []

    def frames() -> Iterator[pl.DataFrame]:
        try:
            yield from cut([row(number) for number in range(200)], 5)
        finally:
            closed.append(True)

    interval = sys.getswitchinterval()
    items = replay_columns(ahead(event_frames(frames(), SCREEN, origin="file")))
    assert isinstance(next(items), Events)
    items.close()  # type: ignore[attr-defined]
    del items
    assert closed
    assert sys.getswitchinterval() == interval


@given(st.lists(trips(), max_size=6), st.lists(st.integers(0, 5), max_size=8))
@some
def test_keys_are_those_of_the_models_and_unique(made: list[CompleteTrip], again: list[int]) -> None:
    repeated = made + [made[number] for number in again if number < len(made)]
    listed = in_order(repeated)
    without = [(*row[:2], "" if number % 2 else None, *row[3:]) for number, row in enumerate(listed)]
    keys = with_trip_keys(frame(without)).get_column("trip_key").to_list()
    assert len(set(keys)) == len(keys)
    first = {CompleteTrip(**dict(zip(TRIP_FIELDS, row[3:], strict=True))).trip_key for row in listed}
    assert first <= set(keys)
    assert len(first) == len({repr(row[3:]) for row in listed})


def test_a_given_key_stays() -> None:
    given_one, computed = row(0), (*row(1)[:2], None, *row(1)[3:])
    keys = with_trip_keys(frame([given_one, computed, computed])).get_column("trip_key").to_list()
    assert keys[0] == "0"
    assert keys[1] == CompleteTrip(**dict(zip(TRIP_FIELDS, computed[3:], strict=True))).trip_key
    assert len({*keys}) == 3


def test_rows_are_read_back() -> None:
    listed = [to_row(trip(extra_columns={"a": [1, None]})), row(1), row(2)]
    assert [*rows(frame(listed))] == listed


FAR = to_row(trip(trip_key="far", dropoff_ts=BEGINNING + timedelta(days=9)))


@pytest.mark.parametrize(("limit", "rejected"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (9, 3), (None, 3)])
@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_a_limit_counts_good_trips_only(limit: int | None, rejected: int, size: int) -> None:
    listed = [row(0), FAR, row(1), row(2), FAR, row(3), row(4), FAR]
    stats = ReplayStats()
    found = [*singly(cut(listed, size), limit=limit, stats=stats)]
    taken = [row(number) for number in range(5)][:limit]
    assert [message for message in messages(found) if message.topic == "events"] == expected_messages(taken)
    assert stats.trips == len(taken)
    assert sum(isinstance(item, RejectedRow) for item in found) == rejected


def test_no_frame_is_read_beyond_the_limit() -> None:
    read = 0

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal read
        for each in cut([row(number) for number in range(100)], 5):
            read += 1
            yield each

    assert len([*singly(frames(), limit=7)]) == 35
    assert read <= 2


def test_rejected_rows_come_even_without_trips() -> None:
    assert [*singly([NO_TRIP, NO_TRIP])] == [NO_TRIP, NO_TRIP]
    assert [*singly([NO_TRIP, frame([]), NO_TRIP])] == [NO_TRIP, NO_TRIP]
    assert [*singly([NO_TRIP] * 5)] == [NO_TRIP] * 5


def test_only_trips_under_way_are_kept() -> None:
    read = 0

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal read
        for number in range(200):
            read += 1
            yield frame([row(number, 1.5)])

    for given_out, _ in enumerate(singly(frames())):
        assert read <= given_out / 5 + 3


def test_trips_are_counted_as_they_begin() -> None:
    stats, begun = ReplayStats(), set()
    listed = [row(number, 3.5) for number in range(20)]
    for item in singly([frame(listed)], stats=stats):
        assert isinstance(item, PlacedEvent)
        begun.add(item.key)
        assert stats.trips == len(begun)


def test_disorder_does_not_depend_on_the_size_of_frames() -> None:
    listed = [row(number, number % 13) for number in range(300)]
    worse = [Disorder(timedelta(minutes=30), 0.1, 0.1, 0.05, seed=3) for _ in range(2)]
    once, again = (
        messages(singly(cut(listed, size), disorder=each)) for size, each in zip((50, 300), worse, strict=True)
    )
    assert once == again
    assert worse[0].stats == worse[1].stats
    assert worse[0].stats.duplicated > 0
