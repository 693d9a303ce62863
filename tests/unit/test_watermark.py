"""The watermark of a partition: the rank-th largest accepted event time, which wrong clocks do not move."""

from ast import literal_eval
from collections.abc import Iterator, Sequence
from itertools import count, islice, pairwise
from random import Random
from typing import TypeAlias

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from chillflow.keyed.watermark import NO_WATERMARK, WatermarkSnapshot, WatermarkTracker

MINUTE = 60_000
DAY = 1440 * MINUTE

Event: TypeAlias = tuple[int | None, bytes]
"""Time (ms) and key."""


class Naive:
    """The rule, event by event, in the plainest words: keeps every accepted time and every event of a trial."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.accepted: list[int] = []
        self.trial: list[tuple[bool, int, bytes]] = []
        self.jumps = self.rejected = 0

    def watermark(self) -> int:
        return sorted(self.accepted)[-self.rank] if len(self.accepted) >= self.rank else NO_WATERMARK

    def observe(self, time: int | None, key: bytes) -> int:
        if time is not None:
            candidate = self.watermark() != NO_WATERMARK and time > self.watermark() + DAY
            if not candidate:
                self.accepted.append(time)
            if self.trial or candidate:
                self.trial.append((candidate, time, key))
            times = [time for candidate, time, _ in self.trial if candidate]
            if len(times) >= 100 and len({key for candidate, _, key in self.trial if candidate}) >= min(20, self.rank):
                self.accepted += sorted(times)[: self.rank]
                for one in sorted(times)[self.rank :]:
                    if one <= self.watermark() + DAY:
                        self.accepted.append(one)
                self.trial = []
                self.jumps += 1
            elif len(self.trial) == 200:
                self.trial = []
                self.rejected += len(times)
        return self.watermark()


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    """Stretches of a stream with gaps, disorder, wrong clocks, ties, few or many keys, and messages without a time."""
    made: list[Event] = []
    now = 0
    for _ in range(draw(st.integers(1, 4))):
        now += draw(st.sampled_from([0, 0, DAY - 1, DAY, DAY + 1, 3 * DAY, 40 * DAY]))
        step = draw(st.sampled_from([0, 1, MINUTE, 60 * MINUTE, DAY]))
        disorder = draw(st.sampled_from([0, 0, MINUTE, 60 * MINUTE]))
        wrong, untimed = draw(st.sampled_from([0, 0, 0.1, 0.5, 0.7])), draw(st.sampled_from([0, 0, 0.2]))
        keys = draw(st.sampled_from([5, 19, 20, 1000]))
        random = Random(draw(st.integers(0, 1000)))
        for _ in range(draw(st.sampled_from([1, 30, 100, 150, 300]))):
            now += step
            time: int | None = now - random.randint(0, disorder)
            if random.random() < untimed:
                time = None
            elif random.random() < wrong:
                time = now + random.choice([DAY, 2 * DAY, 400 * DAY, random.randint(-50, 50) * DAY])
            made.append((time, b"%d" % random.randrange(keys)))
    return made


RANKS = st.sampled_from([1, 2, 3, 20, 99, 150])


def observe_all(tracker: WatermarkTracker, stream: Sequence[Event]) -> Sequence[int]:
    return tracker.observe_all([time for time, _ in stream], [key for _, key in stream])


def stored(snapshot: WatermarkSnapshot) -> WatermarkSnapshot:
    """What a store returns of it: equal plain values, no object shared."""
    read: WatermarkSnapshot = literal_eval(repr(snapshot))
    return read


@given(streams(), RANKS)
@settings(max_examples=200, deadline=None)
def test_it_follows_the_rule(stream: list[Event], rank: int) -> None:
    tracker, naive = WatermarkTracker(rank), Naive(rank)
    for time, key in stream:
        assert tracker.observe(time, key) == tracker.now == naive.observe(time, key)
    assert tracker.rejected == naive.rejected
    event(f"jumps: {min(naive.jumps, 2)}, rejected: {naive.rejected > 0}, open: {bool(naive.trial)}")


@given(streams(), RANKS)
@settings(max_examples=100, deadline=None)
def test_it_never_goes_back_nor_above_the_largest_times_of_all(stream: list[Event], rank: int) -> None:
    watermarks = observe_all(WatermarkTracker(rank), stream)
    assert all(before <= after for before, after in pairwise(watermarks))
    times = sorted(time for time, _ in stream if time is not None)
    assert watermarks[-1] <= (times[-rank] if len(times) >= rank else NO_WATERMARK)


@given(streams(), RANKS, st.data())
@settings(max_examples=200, deadline=None)
def test_neither_batches_nor_snapshots_change_it(stream: list[Event], rank: int, data: st.DataObject) -> None:
    one, many = WatermarkTracker(rank), WatermarkTracker(rank)
    watermarks = [one.observe(time, key) for time, key in stream]
    found: list[int] = []
    rejected = 0
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=6), label="cuts"))
    restores = data.draw(st.sets(st.sampled_from([-1, *cuts])), label="restores")
    for start, end in pairwise([0, *cuts, len(stream)]):
        found += observe_all(many, stream[start:end])
        assert len(many.snapshot()["candidates"]) <= many.snapshot()["trial_events"] < 200
        if end in restores:
            rejected += many.rejected
            many = WatermarkTracker(rank, stored(many.snapshot()))
    assert found == watermarks
    assert many.snapshot() == one.snapshot()
    assert rejected + many.rejected == one.rejected


@given(st.lists(st.integers(0, 50), min_size=1, max_size=300), st.sampled_from([1, 2, 20]), st.integers(1, 100))
@settings(max_examples=200, deadline=None)
def test_batches_in_order_are_the_same(hours: list[int], rank: int, size: int) -> None:
    """Also where they span more than a day, with a candidate among them or not."""
    stream: list[Event] = [(hour * 60 * MINUTE, b"%d" % number) for number, hour in enumerate(sorted(hours))]
    one, many = WatermarkTracker(rank), WatermarkTracker(rank)
    watermarks = [one.observe(time, key) for time, key in stream]
    batches = (stream[start : start + size] for start in range(0, len(stream), size))
    assert [found for batch in batches for found in observe_all(many, batch)] == watermarks
    assert many.snapshot() == one.snapshot()


def test_a_snapshot_does_not_change_afterwards() -> None:
    tracker = WatermarkTracker(1)
    tracker.observe(5, b"a")
    tracker.observe(5 + 2 * DAY, b"b")
    snapshot = tracker.snapshot()
    resumed = WatermarkTracker(1, snapshot)
    for each in (tracker, resumed):
        each.observe(9, b"c")
        each.observe(9 + 3 * DAY, b"d")
    assert snapshot == {"largest": [5], "trial_events": 1, "candidates": [(5 + 2 * DAY, b"b")]}


@pytest.mark.parametrize(("rank", "now"), [(1, 9), (2, 7), (3, 5), (4, NO_WATERMARK)])
def test_the_rank_may_change_between_runs(rank: int, now: int) -> None:
    assert WatermarkTracker(rank, {"largest": [7, 5, 9], "trial_events": 0, "candidates": []}).now == now


# Wrong clocks and gaps


def orderly(start: int = 0, first_trip: int = 0) -> Iterator[Event]:
    """An orderly stream: a trip a minute from `start` on, five events each, at its own times."""
    for number in count():
        yield from ((start + number * MINUTE + each * 1000, b"trip %d" % (first_trip + number)) for each in range(5))


def ahead(number: int, days: int = 400, events_of_a_trip: int = 5) -> list[Event]:
    """So many events of trips whose clock is so many days ahead."""
    return [(days * DAY + each, b"wrong %d" % (each // events_of_a_trip)) for each in range(number)]


def started(rank: int = 20) -> tuple[WatermarkTracker, Iterator[Event]]:
    """A tracker that has seen 500 events of an orderly stream, and what follows in it."""
    tracker, stream = WatermarkTracker(rank), orderly()
    observe_all(tracker, [*islice(stream, 500)])
    return tracker, stream


def spread(wrong: Sequence[Event], among: Sequence[Event]) -> list[Event]:
    """`wrong` at even distances among others."""
    places = [(place / len(some), one) for some in (wrong, among) for place, one in enumerate(some)]
    return [one for _, one in sorted(places, key=lambda each: each[0])]


def watermarks_of_others(tracker: WatermarkTracker, stream: Sequence[Event]) -> list[int]:
    """The watermarks of the events whose clock is right."""
    found = observe_all(tracker, stream)
    return [one for one, (_, key) in zip(found, stream, strict=True) if not key.startswith(b"wrong")]


@pytest.mark.parametrize("rank", [1, 20])
@pytest.mark.parametrize("number", [1, 20, 90, 99])
@pytest.mark.parametrize("consecutive", [True, False])
def test_wrong_clocks_move_nothing(rank: int, number: int, consecutive: bool) -> None:
    tracker, stream = started(rank)
    others = [*islice(stream, 1000)]
    right = watermarks_of_others(started(rank)[0], others)
    wrong = ahead(number, events_of_a_trip=1)
    mixed = [*wrong, *others] if consecutive else [*spread(wrong, others[:200]), *others[200:]]
    assert watermarks_of_others(tracker, mixed) == right
    assert tracker.rejected == number
    assert tracker.snapshot()["candidates"] == []


def test_wrong_clocks_of_few_keys_move_nothing() -> None:
    tracker, _ = started()
    before = tracker.now
    assert observe_all(tracker, [(time, key[-1:]) for time, key in ahead(200)]) == [before] * 200
    assert tracker.rejected == 200


@pytest.mark.parametrize(("rank", "keys", "moves"), [(20, 19, False), (20, 20, True), (3, 2, False), (3, 3, True)])
def test_a_jump_needs_twenty_keys_or_as_many_as_its_rank(rank: int, keys: int, moves: bool) -> None:
    tracker, _ = started(rank)
    before = tracker.now
    found = observe_all(tracker, [(time, b"%d" % (number % keys)) for number, (time, _) in enumerate(ahead(100))])
    assert found[:99] == [before] * 99
    assert (found[99] > before) == moves


def test_candidates_that_come_too_slowly_for_a_trial_are_rejected_again_and_again() -> None:
    tracker, stream = started()
    others = [*islice(stream, 2020)]
    right = watermarks_of_others(started()[0], others)
    assert watermarks_of_others(tracker, spread(ahead(1980), others)) == right
    assert tracker.rejected > 1800


def test_one_pickup_in_may_of_january_2022() -> None:
    """As yellow January 2022 has it, split into the five events of a trip."""
    tracker, stream = started()
    wrong: list[Event] = [(117 * DAY + each * MINUTE, b"wrong trip") for each in range(5)]
    months = [*islice(stream, 40_000)]
    right = watermarks_of_others(started()[0], months)
    assert watermarks_of_others(tracker, [*months[:7], *wrong, *months[7:]]) == right
    assert tracker.rejected == 5


@pytest.mark.parametrize("rank", [1, 20, 99])
def test_a_gap_is_passed_within_200_events_and_makes_nothing_late(rank: int) -> None:
    tracker, _ = started(rank)
    resumed = 40 * DAY
    behind = [*islice(orderly(resumed, first_trip=1000), 600)]
    found = observe_all(tracker, behind)
    assert found[98] < resumed <= found[99], "the event that decides has the watermark after it"
    assert all(watermark <= time for watermark, (time, _) in zip(found, behind, strict=True) if time is not None)
    assert found[200:] == [time for time, _ in behind][201 - rank : 601 - rank]
    assert tracker.rejected == 0


def test_a_gap_in_disorder_and_among_wrong_clocks_makes_no_event_later_than_right_clocks_alone() -> None:
    tracker, _ = started()
    random = Random(1)
    behind = [*islice(orderly(40 * DAY, first_trip=1000), 600)]
    behind.sort(key=lambda each: (each[0] or 0) + random.random() * 60 * MINUTE)
    mixed = spread(ahead(200), behind)
    assert observe_all(tracker, mixed)[199] >= 40 * DAY
    found = watermarks_of_others(started()[0], mixed)
    for number, watermark in enumerate(found[20:], 20):
        assert watermark <= sorted(time for time, _ in behind[: number + 1] if time is not None)[-20]


def test_a_stray_event_from_within_a_gap_delays_the_jump_by_one_trial() -> None:
    tracker, _ = started()
    behind = [(2 * DAY, b"stray"), *islice(orderly(40 * DAY, first_trip=1000), 300)]
    found = observe_all(tracker, behind)
    assert found[99] == found[198] == 2 * DAY
    assert found[199] > 40 * DAY
    assert all(watermark <= time for watermark, (time, _) in zip(found, behind, strict=True) if time is not None)


def test_a_rank_above_the_candidates_of_a_trial_takes_more_trials_to_pass_a_gap() -> None:
    tracker, stream = WatermarkTracker(250), orderly()
    observe_all(tracker, [*islice(stream, 500)])
    behind = [*islice(orderly(40 * DAY, first_trip=1000), 400)]
    found = observe_all(tracker, behind)
    assert found[298] < 40 * DAY < found[299]
    assert all(watermark <= time for watermark, (time, _) in zip(found, behind, strict=True) if time is not None)


def test_a_watermark_that_advances_during_a_trial_does_not_go_back_to_its_candidates() -> None:
    """The watermark overtakes the candidates in steps of less than a day: the jump leaves it where it is."""
    tracker = WatermarkTracker(1)
    hour = 60 * MINUTE
    stream: list[Event] = [(0, b"first"), *((25 * hour, b"%d" % each) for each in range(99))]
    stream += [(20 * hour, b"a"), (40 * hour, b"b"), (60 * hour, b"c"), (85 * hour, b"d")]
    assert observe_all(tracker, stream)[-4:] == [20 * hour, 40 * hour, 60 * hour, 60 * hour]
    assert tracker.snapshot()["candidates"] == []


def test_an_hourly_partition_catches_up_after_a_gap() -> None:
    """20 events take less than a day, 100 more."""
    tracker, hour = WatermarkTracker(20), 60 * MINUTE
    observe_all(tracker, [(number * hour, b"%d" % number) for number in range(100)])
    behind: list[Event] = [(10 * DAY + number * hour, b"%d" % number) for number in range(200)]
    assert [*observe_all(tracker, behind)[99:]] == [10 * DAY + (number - 19) * hour for number in range(99, 200)]


def test_a_sparse_partition_lags_by_100_to_200_events() -> None:
    tracker, days = WatermarkTracker(20), 1000
    found = observe_all(tracker, [(2 * day * DAY, b"%d" % day) for day in range(days)])
    lags = [day - watermark // (2 * DAY) for day, watermark in enumerate(found)]
    assert (min(lags[200:]), max(lags[200:])) == (99, 198)


# What the rule cannot see


def test_a_majority_of_wrong_clocks_moves_it() -> None:
    tracker, stream = started()
    found = observe_all(tracker, spread(ahead(101), [*islice(stream, 99)]))
    assert found[-1] >= 400 * DAY


def test_clocks_wrong_by_less_than_a_day_are_accepted() -> None:
    tracker, _ = started()
    before = tracker.now
    found = observe_all(tracker, [(before + DAY, b"%d" % each) for each in range(20)])
    assert found[-1] == before + DAY


def test_the_first_events_are_accepted_whatever_their_times() -> None:
    tracker = WatermarkTracker(20)
    assert observe_all(tracker, ahead(20))[-1] == 400 * DAY


def test_messages_that_are_not_events_move_nothing_and_take_no_part_in_a_trial() -> None:
    tracker, _ = started()
    before = tracker.now
    nothing: list[Event] = [(None, b"hello")] * 500
    assert observe_all(tracker, [*ahead(99), *nothing]) == [before] * 599
    assert tracker.rejected == 0
    assert tracker.observe(400 * DAY, b"wrong") >= 400 * DAY
