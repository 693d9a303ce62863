"""The late share: its window, and when it is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chillflow.telemetry.late_share import CAUSES, LIMIT, LateShare, Totals, describe, is_wrong, warning

START = Totals(1_000.0, 500, 20)
CHANGES = st.builds(
    lambda seconds, on_time, late: Totals(seconds, on_time + late, late),
    st.sampled_from([0.0, 0.2, 2.0, 60.0, 400.0]),
    st.sampled_from([0, 1, 40, 3_000, 50_000]),
    st.sampled_from([0, 0, 7, 2_000]),
)


def after(totals: Totals, seconds: float = 0, events: int = 0, late: int = 0) -> Totals:
    return Totals(totals.at + seconds, totals.events + events, totals.late + late)


def share(first: Totals, last: Totals) -> float | None:
    events = last.events - first.events
    return (last.late - first.late) / events if events else None


def observe(late: LateShare, changes: list[Totals]) -> Iterator[Totals]:
    """Observe these changes one after the other. Yields the totals after each."""
    for now in accumulate(changes, lambda totals, change: after(totals, *change), initial=START):
        if now is not START:
            late.observe(now)
        yield now


def test_there_is_no_share_without_events() -> None:
    late = LateShare([START])
    assert late.value is None
    late.observe(after(START, seconds=900))
    assert late.value is None


def test_what_was_counted_before_the_start_is_not_in_the_share() -> None:
    late = LateShare([START])
    late.observe(after(START, 1, events=200, late=50))
    assert late.value == 0.25


@pytest.mark.parametrize(("seconds", "events"), [(1.0, 40_000), (600.0, 1)])
def test_a_window_has_both_10_000_events_and_5_minutes(seconds: float, events: int) -> None:
    """Late events are in the share until 10,000 events and 5 minutes have come after them."""
    late = LateShare([START])
    now = after(START, 10, events=1_000, late=1_000)
    late.observe(now)
    since = now
    while since.events - now.events < 9_900 or since.at - now.at < 297:
        assert share(START, since) == late.value
        since = after(since, seconds, events)
        late.observe(since)
    for _ in range(3 + 200 // events):
        since = after(since, max(3, seconds), events)
        late.observe(since)
    assert late.value == 0


@given(st.lists(CHANGES, max_size=200))
def test_the_window_is_the_shortest_with_both_up_to_one_step(changes: list[Totals]) -> None:
    late, seen = LateShare([START]), list[Totals]()
    for now in observe(late, changes):
        seen.append(now)
        first = late.observed[0]
        assert late.value == share(first, now)
        enough = [each for each in seen if now.events - each.events >= 10_000 and now.at - each.at >= 300]
        if enough:
            assert first.events <= enough[-1].events
            assert first.at <= enough[-1].at
            assert enough[-1].events - first.events < 100 or enough[-1].at - first.at < 3
        else:
            assert first == START


@given(st.lists(CHANGES, max_size=200), st.lists(CHANGES, max_size=20))
def test_a_new_object_continues_from_what_was_observed(before: list[Totals], further: list[Totals]) -> None:
    late = LateShare([START])
    *_, now = observe(late, before)
    resumed = LateShare(late.observed)
    for change in further:
        now = after(now, *change)
        late.observe(now)
        resumed.observe(now)
        assert resumed.value == late.value


@pytest.mark.parametrize(("seconds", "events"), [(0.01, 5_000), (100.0, 1), (3.0, 100), (0.5, 20)])
def test_few_totals_are_kept(seconds: float, events: int) -> None:
    late = LateShare([START])
    kept = {len(late.observed) for _ in observe(late, [Totals(seconds, events, 0)] * 40_000)}
    assert max(kept) <= 102


def test_a_clock_that_is_set_back_does_no_harm() -> None:
    late = LateShare([START])
    late.observe(after(START, -3_600, events=20_000, late=5_000))
    assert late.value == 0.25


def test_from_one_percent_on_the_share_is_wrong() -> None:
    assert (is_wrong(None), is_wrong(0.0), is_wrong(LIMIT - 1e-6), is_wrong(LIMIT)) == (False, False, False, True)
    assert warning(None) is warning(0.009) is None
    assert describe(0.5) == "50.0 % of the last 10,000 events or 5 minutes"
    assert describe(None) == "no events yet"
    said = warning(0.5) or ""
    assert said.startswith(f"late events: {describe(0.5)}. Possible causes: ")
    assert all(cause in said for cause in CAUSES)
