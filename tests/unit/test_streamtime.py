"""Stream time: the event time that so many messages have reached."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.keyed.watermark import NO_WATERMARK, WatermarkTracker

TIMES = st.lists(st.integers(-(10**6), 10**6) | st.integers(0, 5), max_size=60)


@given(TIMES, st.integers(1, 20))
@settings(max_examples=300, deadline=None)
def test_it_is_the_rank_th_largest_seen(times: list[int], rank: int) -> None:
    time = WatermarkTracker(rank)
    for at, one in enumerate(times, 1):
        largest = sorted(times[:at], reverse=True)
        assert time.observe(one) == time.now == (largest[rank - 1] if at >= rank else NO_WATERMARK)


@given(TIMES, st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_it_never_goes_back(times: list[int], rank: int) -> None:
    time = WatermarkTracker(rank)
    watermarks = [time.observe(one) for one in times]
    assert watermarks == sorted(watermarks)


@given(TIMES, TIMES, st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_it_goes_on_from_a_snapshot(before: list[int], after: list[int], rank: int) -> None:
    time = WatermarkTracker(rank)
    for one in before:
        time.observe(one)
    resumed = WatermarkTracker(rank, time.snapshot())
    assert resumed.now == time.now
    assert [resumed.observe(one) for one in after] == [time.observe(one) for one in after]


def test_a_snapshot_does_not_change_afterwards() -> None:
    time = WatermarkTracker(1, [5])
    snapshot = time.snapshot()
    time.observe(9)
    assert snapshot == [5]


@pytest.mark.parametrize(("rank", "now"), [(1, 9), (2, 7), (3, 5), (4, NO_WATERMARK)])
def test_the_rank_may_change_between_runs(rank: int, now: int) -> None:
    assert WatermarkTracker(rank, [7, 5, 9]).now == now


def test_one_wrong_row_moves_nothing() -> None:
    time = WatermarkTracker(20)
    for number in range(100):
        time.observe(number)
    assert time.observe(10**15) == 81


@given(st.integers(1, 5), st.lists(st.one_of(st.none(), st.integers(-10, 10))), st.integers(0, 10), st.booleans())
def test_many_at_once_are_as_one_after_the_other(rank: int, times: list[int | None], cut: int, in_order: bool) -> None:
    if in_order:
        times = [*sorted(time for time in times if time is not None)]
    one, many = WatermarkTracker(rank), WatermarkTracker(rank)
    watermarks = [one.now if time is None else one.observe(time) for time in times]
    assert [*many.observe_all(times[:cut]), *many.observe_all(times[cut:])] == watermarks
    assert sorted(many.snapshot()) == sorted(one.snapshot())
