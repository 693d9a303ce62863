"""Whole columns at a time and row by row: the same trip_keys, the same messages in the same order."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.errors import InputError
from chillflow.model.codec import encode, encode_value
from chillflow.model.trips import TRIP_FIELDS, CompleteTrip
from chillflow.production import bulk
from chillflow.production.bulk import keyed, replay_columns, replay_frames, rows
from chillflow.production.disorder import Disorder
from chillflow.production.replay import RejectedRow, ReplayStats, Screen, replay
from chillflow.production.splitting import ROW_FIELDS, Events, Leg, TripRow, encode_events, split, to_row
from tests.unit.vocabulary import BEGINNING, messages, trip, trips

NOW = BEGINNING + timedelta(days=30)
SCREEN = Screen(NOW, timedelta(hours=1), timedelta(days=8))
LATER = Screen(NOW.replace(year=2100), timedelta(hours=1), timedelta(days=8))
NO_TRIP = RejectedRow("file", 7, "passenger_count: 1.5", b'{"passenger_count":1.5}')
INTS = ("vendor_id", "pu_zone_id", "do_zone_id", "passenger_count", "rate_code", "trip_type", "payment_type")
TEXTS = ("trip_key", "service", "pickup_ts", "dropoff_ts", "store_and_fwd_flag", "extra_columns")
some = settings(max_examples=60, deadline=None)


def kind_of(name: str) -> pl.DataType:
    if name in ("pickup_us", "dropoff_us"):
        return pl.Int64()
    return pl.Int32() if name in INTS else pl.String() if name in TEXTS else pl.Float64()


def frame(listed: Iterable[TripRow]) -> pl.DataFrame:
    """Rows as the reader of files has them: extra columns are JSON text."""
    records = [(*row[:-1], None if row[-1] is None else encode_value(row[-1]).decode()) for row in listed]
    return pl.DataFrame(records, schema={name: kind_of(name) for name in ROW_FIELDS}, orient="row")


def in_order(made: Iterable[CompleteTrip]) -> list[TripRow]:
    """Rows as they are read: in the order of their first time, -0.0 as 0.0."""
    read = [tuple(value + 0.0 if isinstance(value, float) else value for value in to_row(one)) for one in made]
    return sorted(read, key=lambda row: min(row[:2]))


def cut(listed: Sequence[TripRow], size: int) -> Iterator[pl.DataFrame]:
    return (frame(listed[start : start + size]) for start in range(0, len(listed), size))


def row(number: int, minutes: float = 10) -> TripRow:
    begin = BEGINNING + timedelta(minutes=number)
    return to_row(trip(trip_key=str(number), pickup_ts=begin, dropoff_ts=begin + timedelta(minutes=minutes)))


@pytest.fixture(autouse=True)
def _few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_MANY_ROWS", 3)
    monkeypatch.setattr(bulk, "_ROWS", 2)
    monkeypatch.setattr(bulk, "_EVENTS", 2)


ANY_KEY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.lists(trips() | trips(ANY_KEY), max_size=8), st.integers(1, 8))
@some
def test_the_same_messages_as_row_by_row(made: list[CompleteTrip], size: int) -> None:
    listed = in_order(made)
    singly, bulky = ReplayStats(), ReplayStats()
    expected = messages(replay(listed, LATER, origin="file", stats=singly))
    found = messages(replay_frames(cut(listed, size), LATER, origin="file", stats=bulky))
    assert found == expected
    assert bulky == singly
    assert bulky.trips == len(made)


@given(st.lists(trips() | trips(ANY_KEY), max_size=8), st.integers(1, 8))
@some
def test_columns_are_the_same_messages(made: list[CompleteTrip], size: int) -> None:
    assert_columns_are_the_same(in_order(made), size)


def assert_columns_are_the_same(listed: list[TripRow], size: int) -> None:
    found = [
        message
        for events in replay_columns(cut(listed, size), LATER, origin="file")
        if isinstance(events, Events)
        for message in encode_events(events, "events")
    ]
    assert found == messages(replay(listed, LATER, origin="file"))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12), st.integers(1, 12))
@some
def test_events_of_one_time_are_in_the_order_of_their_rows(seconds: list[tuple[int, int]], size: int) -> None:
    times = [[BEGINNING + timedelta(seconds=second) for second in both] for both in seconds]
    made = [trip(trip_key=str(number), pickup_ts=p, dropoff_ts=d) for number, (p, d) in enumerate(times)]
    assert_columns_are_the_same(in_order(made), size)


def test_of_what_is_cut_off_no_more_is_kept_than_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these frames has a trip that lasts, whose events wait for days among those of all later frames."""
    monkeypatch.setattr(bulk, "_MANY_ROWS", 10)
    monkeypatch.setattr(bulk, "_ROWS", 10)
    frames = [frame([row(10 * n, 9_000), *(row(10 * n + m, 1) for m in range(1, 10))]) for n in range(60)]
    *_, waiting = bulk._in_order(([], each) for each in frames)
    assert isinstance(waiting, pl.DataFrame)
    contents = waiting.get_column("contents")
    assert contents.len() == 3 * 61  # and the last one of a minute
    views = contents.to_arrow(compat_level=pl.CompatLevel.newest())
    kept = sum(buffer.size for buffer in views.buffers()[2:] if buffer is not None)
    assert kept < 2 * contents.bin.size().sum()


def test_what_goes_wrong_comes_out_after_what_was_read() -> None:
    def frames() -> Iterator[pl.DataFrame]:
        try:
            yield frame([row(0)])
            raise InputError("near row 1")
        finally:
            closed.append(True)

    closed: list[bool] = []
    interval = sys.getswitchinterval()
    items = replay_columns(frames(), SCREEN, origin="file")
    with pytest.raises(InputError, match="near row 1"):
        assert [*items] == []
    assert closed
    assert sys.getswitchinterval() == interval


def test_one_that_is_left_halfway_lets_go_of_its_source() -> None:
    closed: list[bool] = []

    def frames() -> Iterator[pl.DataFrame]:
        try:
            yield from cut([row(number) for number in range(200)], 5)
        finally:
            closed.append(True)

    interval = sys.getswitchinterval()
    items = replay_columns(frames(), SCREEN, origin="file")
    assert isinstance(next(items), Events)
    items.close()  # type: ignore[attr-defined]
    assert closed
    assert sys.getswitchinterval() == interval


@given(trips(ANY_KEY))
@some
def test_the_same_bytes_as_of_a_model(one: CompleteTrip) -> None:
    (read,) = in_order([one])
    found = messages(replay_frames([frame([read])], LATER, origin="file"))
    again = CompleteTrip(**dict(zip(ROW_FIELDS[2:], read[2:], strict=True)))
    assert sorted(message.value or b"" for message in found) == sorted(map(encode, split(again)))


@given(st.lists(trips(), max_size=6), st.lists(st.integers(0, 5), max_size=8))
@some
def test_the_same_keys_as_row_by_row(made: list[CompleteTrip], again: list[int]) -> None:
    repeated = made + [made[number] for number in again if number < len(made)]
    listed = in_order(repeated)
    without = [(*row[:2], "" if number % 2 else None, *row[3:]) for number, row in enumerate(listed)]
    keys = keyed(frame(without)).get_column("trip_key").to_list()
    assert len(set(keys)) == len(keys)
    first = {CompleteTrip(**dict(zip(TRIP_FIELDS, row[3:], strict=True))).trip_key for row in listed}
    assert first <= set(keys)
    assert len(first) == len({repr(row[3:]) for row in listed})


def test_a_key_that_is_given_stays() -> None:
    given_one, computed = row(0), (*row(1)[:2], None, *row(1)[3:])
    keys = keyed(frame([given_one, computed, computed])).get_column("trip_key").to_list()
    assert keys[0] == "0"
    assert keys[1] == CompleteTrip(**dict(zip(TRIP_FIELDS, computed[3:], strict=True))).trip_key
    assert len({*keys}) == 3


def test_rows_are_read_back() -> None:
    listed = [to_row(trip(extra_columns={"a": [1, None]})), row(1), row(2)]
    assert [*rows(frame(listed))] == listed


FAR = to_row(trip(trip_key="far", dropoff_ts=BEGINNING + timedelta(days=9)))


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 4, 5, 9, None])
@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_a_limit_counts_trips_alone(limit: int | None, size: int) -> None:
    listed = [row(0), FAR, row(1), row(2), FAR, row(3), row(4), FAR]
    stats, singly = ReplayStats(), ReplayStats()
    found = [*replay_frames(cut(listed, size), SCREEN, origin="file", limit=limit, stats=stats)]
    expected = [*replay(listed, SCREEN, origin="file", limit=limit, stats=singly)]
    assert messages(found) == messages(expected)
    assert stats.trips == singly.trips == len([row(n) for n in range(5)][:limit])


def test_no_frame_is_read_that_the_limit_does_not_need() -> None:
    read = 0

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal read
        for each in cut([row(number) for number in range(100)], 5):
            read += 1
            yield each

    assert len([*replay_frames(frames(), SCREEN, origin="file", limit=7)]) == 35
    assert read <= 2


def test_rejected_rows_come_even_without_trips() -> None:
    assert [*replay_frames([NO_TRIP, NO_TRIP], SCREEN, origin="file")] == [NO_TRIP, NO_TRIP]
    assert [*replay_frames([NO_TRIP, frame([]), NO_TRIP], SCREEN, origin="file")] == [NO_TRIP, NO_TRIP]


def test_only_trips_under_way_are_held() -> None:
    read = 0

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal read
        for number in range(200):
            read += 1
            yield frame([row(number, 1.5)])

    for given_out, _ in enumerate(replay_frames(frames(), SCREEN, origin="file")):
        assert read <= given_out / 5 + bulk._AHEAD + 3


def test_trips_are_counted_as_they_begin() -> None:
    stats, begun = ReplayStats(), set()
    listed = [row(number, 3.5) for number in range(20)]
    for item in replay_frames([frame(listed)], SCREEN, origin="file", stats=stats):
        assert isinstance(item, Leg)
        begun.add(item.key)
        assert stats.trips == len(begun)


def test_disorder_is_the_same() -> None:
    listed = [row(number, number % 13) for number in range(300)]
    worse = [Disorder(timedelta(minutes=30), 0.1, 0.1, 0.05, seed=3) for _ in range(2)]
    expected = replay(listed, SCREEN, origin="file", disorder=worse[0].apply)
    found = replay_frames(cut(listed, 50), SCREEN, origin="file", disorder=worse[1].apply)
    assert messages(found) == messages(expected)
    assert worse[0].stats == worse[1].stats
