"""The watermark of a partition: the rank-th largest event time so far."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.keyed.watermark import NO_WATERMARK, WatermarkTracker

TIMES = st.lists(st.integers(-(10**6), 10**6) | st.integers(0, 5), max_size=60)


@given(TIMES, st.integers(1, 20))
@settings(max_examples=300, deadline=None)
def test_it_is_the_rank_th_largest_seen(times: list[int], rank: int) -> None:
    tracker = WatermarkTracker(rank)
    for count, one in enumerate(times, 1):
        largest = sorted(times[:count], reverse=True)
        assert tracker.observe(one) == tracker.now == (largest[rank - 1] if count >= rank else NO_WATERMARK)


@given(TIMES, st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_it_never_goes_back(times: list[int], rank: int) -> None:
    tracker = WatermarkTracker(rank)
    watermarks = [tracker.observe(one) for one in times]
    assert watermarks == sorted(watermarks)


@given(TIMES, TIMES, st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_it_resumes_from_a_snapshot(before: list[int], after: list[int], rank: int) -> None:
    tracker = WatermarkTracker(rank)
    for one in before:
        tracker.observe(one)
    resumed = WatermarkTracker(rank, tracker.snapshot())
    assert resumed.now == tracker.now
    assert [resumed.observe(one) for one in after] == [tracker.observe(one) for one in after]


def test_a_snapshot_does_not_change_afterwards() -> None:
    tracker = WatermarkTracker(1, [5])
    snapshot = tracker.snapshot()
    tracker.observe(9)
    assert snapshot == [5]


@pytest.mark.parametrize(("rank", "now"), [(1, 9), (2, 7), (3, 5), (4, NO_WATERMARK)])
def test_the_rank_may_change_between_runs(rank: int, now: int) -> None:
    assert WatermarkTracker(rank, [7, 5, 9]).now == now


def test_one_wrong_row_moves_nothing() -> None:
    tracker = WatermarkTracker(20)
    for number in range(100):
        tracker.observe(number)
    assert tracker.observe(10**15) == 81


@given(st.integers(1, 5), st.lists(st.one_of(st.none(), st.integers(-10, 10))), st.integers(0, 10), st.booleans())
def test_observing_many_at_once_equals_one_by_one(rank: int, times: list[int | None], cut: int, in_order: bool) -> None:
    if in_order:
        times = [*sorted(time for time in times if time is not None)]
    one, many = WatermarkTracker(rank), WatermarkTracker(rank)
    watermarks = [one.now if time is None else one.observe(time) for time in times]
    assert [*many.observe_all(times[:cut]), *many.observe_all(times[cut:])] == watermarks
    assert sorted(many.snapshot()) == sorted(one.snapshot())
