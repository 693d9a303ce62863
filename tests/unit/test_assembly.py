"""The rules of assembly, trip by trip: order x duplicate x missing, corrections, deadlines, and no state is left."""

from collections import Counter
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings

from chillflow.assembly.account import difference
from chillflow.assembly.tallies import ACCOUNT
from chillflow.assembly.trip_state import Result
from chillflow.keyed.batches import Record
from chillflow.keyed.group import KeyGroup
from chillflow.keyed.outcomes import BatchOutcome
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.model.codec import encode
from chillflow.model.events import EVENT_TYPES, TripEvent
from chillflow.model.trips import CompleteTrip, derived, milliseconds
from chillflow.production.splitting import split
from tests.unit.vocabulary import (
    BEGINNING,
    DAY,
    HOUR,
    KEY,
    MINUTE,
    NOW,
    assembly,
    batch,
    contents,
    end_event,
    enter_event,
    exit_event,
    five,
    group,
    held,
    payment_event,
    start_event,
    trip,
    trips,
    without_revision,
)

STARTED, EXITED, ENTERED, PAYMENT, ENDED = range(5)
NEEDED = {STARTED, PAYMENT, ENDED}


class Stream:
    """A key group with an account that must balance after each step, and which keeps all results."""

    def __init__(self) -> None:
        self.group: KeyGroup[Any, Any, Any] = group()
        self.account = Counter(dict.fromkeys(ACCOUNT, 0))
        self.results: list[Result] = []
        self.late: list[Record] = []
        self.dead: list[str] = []
        self.watermark = NO_WATERMARK

    def take(self, decided: BatchOutcome[Result]) -> list[Result]:
        self.account.update(decided.tally)
        self.results += decided.results
        self.late += decided.late
        self.dead += [dead.reason for dead in decided.dead]
        assert difference(self.account) == 0, self.account
        assert min(self.account.values()) >= 0, self.account
        assert set(self.account) == set(ACCOUNT)
        return decided.results

    def read(self, *events: TripEvent, watermark: int = NOW) -> list[Result]:
        """One record after the other."""
        self.watermark = watermark
        return [result for each in events for result in self.take(self.group.process([batch([each], watermark)]))]

    def advance(self, watermark: int) -> list[Result]:
        """Advance the partition without a record for this group."""
        self.watermark = watermark
        return self.take(self.group.process([watermark]))

    @property
    def held(self) -> dict[bytes, int]:
        """The deadlines of the trips that have a state."""
        return held(self.group, self.watermark)

    def assert_nothing_is_left(self) -> None:
        assert not self.held
        self.advance(self.watermark + 2 * HOUR)  # closed states are dropped by the hour
        assert not any(contents(self.group, self.watermark))
        assert self.account["open_trips"] == self.account["events_in_open"] == 0


def complete(result: Result) -> dict[str, Any]:
    assert result.missing == ()
    return without_revision(result)


def expected(one: CompleteTrip) -> dict[str, Any]:
    km, minutes, speed = derived(one.trip_distance, one.pickup_ts, one.dropoff_ts)
    made = one.model_copy(update={"distance_km": km, "duration_min": minutes, "avg_speed_kmh": speed})
    return made.model_dump(exclude={"revision"})


@pytest.mark.parametrize("order", [*permutations(range(5))], ids=lambda order: "".join(map(str, order)))
def test_any_order_makes_the_trip(order: tuple[int, ...]) -> None:
    stream = Stream()
    seen: set[int] = set()
    for kind in order:
        results = stream.read(five()[kind])
        completes = seen | {kind} >= NEEDED and not seen >= NEEDED
        assert len(results) == completes
        seen.add(kind)
    assert [complete(result) for result in stream.results] == [expected(trip())]
    assert stream.results[0].trip.revision == 1
    assert stream.account["complete_trips"] == 1
    assert stream.account["events_in_complete"] == 5
    assert stream.advance(NOW + 3 * DAY) == []
    stream.assert_nothing_is_left()


@pytest.mark.parametrize("order", [*permutations(range(5))], ids=lambda order: "".join(map(str, order)))
def test_duplicates_change_nothing(order: tuple[int, ...]) -> None:
    stream = Stream()
    for kind in order:
        stream.read(five()[kind], five()[kind])
    for kind in order:
        stream.read(five()[kind])
    assert [complete(result) for result in stream.results] == [expected(trip())]
    assert stream.account["duplicates"] == 10
    stream.advance(NOW + 3 * DAY)
    stream.assert_nothing_is_left()


@pytest.mark.parametrize("missing", range(5), ids=EVENT_TYPES)
def test_with_one_event_missing(missing: int) -> None:
    for order in permutations(set(range(5)) - {missing}):
        stream = Stream()
        stream.read(*(five()[kind] for kind in order))
        if missing not in NEEDED:
            assert [complete(result) for result in stream.results] == [expected(trip())]
            assert stream.account["events_in_complete"] == 4
            stream.advance(NOW + 3 * DAY)
        else:
            assert stream.results == []
            deadline = milliseconds(five()[order[0]].event_time) + 25 * HOUR  # the first event is ahead of the stream
            assert stream.advance(deadline) == []  # not before the deadline has passed
            (result,) = stream.advance(deadline + 1)
            assert result.missing == (EVENT_TYPES[missing],)
            assert result.trip.revision == 1
            assert stream.account["incomplete_trips"] == 1
            assert stream.account["events_in_incomplete"] == 4
            assert stream.advance(deadline + 8 * DAY) == []
            assert len(stream.held) == 1
            assert stream.advance(deadline + 8 * DAY + 1) == []
        stream.assert_nothing_is_left()


@pytest.mark.parametrize("kinds", [{0}, {1}, {2}, {3}, {4}, {0, 4}, {1, 2}, {0, 3}, {2, 3}, {1, 4}, {3, 4}, {1, 2, 3}])
def test_an_incomplete_trip_has_all_fields_of_its_events(kinds: set[int]) -> None:
    for order in permutations(kinds):
        stream = Stream()
        stream.read(*(five()[kind] for kind in order))
        (result,) = stream.advance(NOW + 2 * DAY)
        known = {name for kind in kinds for name in type(five()[kind]).model_fields}
        wanted = {
            name: value if name in known else None for name, value in trip().model_dump(exclude={"revision"}).items()
        }
        assert without_revision(result) == wanted
        assert result.missing == tuple(name for kind, name in enumerate(EVENT_TYPES) if kind not in kinds)


@pytest.mark.parametrize("last", sorted(NEEDED))
def test_an_incomplete_trip_is_completed_within_its_horizon(last: int) -> None:
    stream = Stream()
    stream.read(*(event for kind, event in enumerate(five()) if kind != last))
    (incomplete,) = stream.advance(NOW + 2 * DAY)
    (result,) = stream.read(five()[last], watermark=NOW + 25 * HOUR + 8 * DAY)
    assert complete(result) == expected(trip())
    assert (incomplete.trip.revision, result.trip.revision) == (1, 2)
    assert stream.account["complete_trips"] == 1
    assert stream.account["incomplete_trips"] == stream.account["events_in_incomplete"] == 0
    assert stream.account["events_in_complete"] == 5
    stream.advance(NOW + 25 * HOUR + 9 * DAY)
    assert len(stream.held) == 1  # kept for corrections from its completion on
    stream.advance(NOW + 25 * HOUR + 9 * DAY + 1)
    stream.assert_nothing_is_left()


def test_each_event_added_to_an_incomplete_trip_makes_a_revision() -> None:
    stream = Stream()
    stream.read(start_event())
    stream.advance(NOW + 2 * DAY)
    stream.read(exit_event(), payment_event(), start_event(), end_event(), enter_event(), watermark=NOW + 3 * DAY)
    assert [(result.trip.revision, len(result.missing)) for result in stream.results] == [
        (1, 4),
        (2, 3),
        (3, 2),
        (4, 0),
    ]
    assert stream.account["duplicates"] == 1
    assert stream.account["events_in_complete"] == 5


def test_a_corrected_incomplete_trip_supersedes() -> None:
    stream = Stream()
    stream.read(start_event())
    stream.advance(NOW + 2 * DAY)
    (result,) = stream.read(start_event(event_version=1, passenger_count=4), watermark=NOW + 2 * DAY)
    assert without_revision(result)["passenger_count"] == 4
    assert result.missing == EVENT_TYPES[1:]
    assert (stream.account["superseded"], stream.account["events_in_incomplete"]) == (1, 1)


def test_after_the_horizon_it_is_late() -> None:
    stream = Stream()
    stream.read(start_event())
    stream.advance(NOW + 25 * HOUR + 8 * DAY + 1)
    stream.read(end_event(), watermark=NOW + 25 * HOUR + 8 * DAY + 1)
    assert stream.account["late"] == 1
    assert [record.value for record in stream.late] == [encode(end_event())]
    stream.assert_nothing_is_left()


@pytest.mark.parametrize("kind", range(5), ids=EVENT_TYPES)
def test_late_is_what_is_further_back_than_the_correction_horizon(kind: int) -> None:
    event = five()[kind]
    at = milliseconds(event.event_time)
    stream = Stream()
    stream.read(event, watermark=at + DAY)
    assert stream.account["open_trips"] == 1
    stream = Stream()
    stream.read(event, watermark=at + DAY + 1)
    assert stream.account["late"] == 1
    stream.assert_nothing_is_left()


def test_a_millisecond_is_exact() -> None:
    event = start_event(event_time=BEGINNING + timedelta(milliseconds=1))  # 1 ms short, as a float of seconds
    stream = Stream()
    stream.read(event, watermark=NOW + 1 + DAY)
    assert stream.account["open_trips"] == 1


@pytest.mark.parametrize("order", [*permutations(range(3))])
@pytest.mark.parametrize("kind", range(5), ids=EVENT_TYPES)
def test_the_highest_version_counts_in_any_order(kind: int, order: tuple[int, ...]) -> None:
    versions = [five()[kind].model_copy(update={"event_version": n, "event_id": f"{9 - n}"}) for n in range(3)]
    others = [event for at, event in enumerate(five()) if at != kind]
    for first in (True, False):
        stream = Stream()
        corrections = [versions[at] for at in order]
        stream.read(*(corrections + others if first else others + corrections))
        stream.read(versions[1], versions[2])
        assert (stream.account["superseded"], stream.account["duplicates"]) == (3, 1)
        assert stream.account["events_in_complete"] == 5
        assert stream.account["complete_trips"] == 1
        stream.advance(NOW + 3 * DAY)
        stream.assert_nothing_is_left()


@pytest.mark.parametrize("swapped", [False, True])
def test_of_one_version_the_higher_event_id_counts(swapped: bool) -> None:
    one, other = payment_event(total_amount=1.0), payment_event(total_amount=2.0)
    stream = Stream()
    stream.read(start_event(), end_event(), *((other, one) if swapped else (one, other)))
    assert stream.results[-1].trip.total_amount == max(one, other, key=lambda event: event.event_id).total_amount
    assert stream.account["superseded"] == 1


def test_a_correction_is_a_new_revision_of_a_complete_trip() -> None:
    stream = Stream()
    stream.read(*five())
    (result,) = stream.read(payment_event(event_version=1, tip_amount=9.0, total_amount=24.8), watermark=NOW + HOUR)
    assert complete(result) == expected(trip(tip_amount=9.0, total_amount=24.8))
    assert result.trip.revision == 2
    assert stream.read(payment_event(), watermark=NOW + HOUR) == []
    assert stream.read(payment_event(event_version=1, tip_amount=9.0, total_amount=24.8), watermark=NOW + HOUR) == []
    assert (stream.account["superseded"], stream.account["duplicates"]) == (2, 1)
    # kept from its new completion on
    stream.advance(NOW + HOUR + DAY)
    assert len(stream.held) == 1
    stream.advance(NOW + HOUR + DAY + 1)
    stream.assert_nothing_is_left()


def test_zone_events_after_completion_are_counted_to_the_trip() -> None:
    stream = Stream()
    stream.read(start_event(), payment_event(), end_event())
    assert stream.read(exit_event(), enter_event(), exit_event(event_version=1), exit_event()) == []
    assert stream.account["events_in_complete"] == 5
    assert stream.account["superseded"] == 2
    assert len(stream.results) == 1


def test_a_complete_trip_is_kept_from_its_largest_event_time_on() -> None:
    stream = Stream()
    far = BEGINNING + timedelta(days=3)
    stream.read(start_event(), payment_event(), end_event(event_time=far))
    stream.advance(NOW + 4 * DAY)
    assert len(stream.held) == 1
    stream.advance(NOW + 4 * DAY + 1)
    stream.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("kind", "correction"), [(EXITED, False), (ENTERED, False), *((kind, True) for kind in range(5))]
)
def test_a_repeat_of_an_event_added_to_a_complete_trip_is_no_new_trip(kind: int, correction: bool) -> None:
    stream, far = Stream(), BEGINNING + timedelta(days=3)
    stream.read(*(event for at, event in enumerate(five()) if correction or at != kind))
    added = five()[kind].model_copy(update={"event_id": "later", "event_time": far, "event_version": int(correction)})
    stream.read(added)
    newest = five()[kind].model_copy(update={"event_id": "newest", "event_version": 2})
    stream.read(newest)  # its own deadline is earlier than the trip's
    stream.read(added, newest, watermark=NOW + 4 * DAY)
    assert (stream.account["duplicates"], stream.account["superseded"]) == (1, 3 if correction else 2)
    assert (stream.account["complete_trips"], stream.account["open_trips"]) == (1, 0)
    stream.read(added, newest, watermark=NOW + 4 * DAY + 1)
    assert stream.account["late"] == 2
    stream.assert_nothing_is_left()


def test_a_zone_event_extends_the_deadline_of_a_complete_trip() -> None:
    stream = Stream()
    stream.read(start_event(), payment_event(), end_event())
    stream.read(exit_event(event_time=BEGINNING + timedelta(days=3)))
    stream.read(enter_event(), watermark=NOW + DAY)
    assert stream.held == {KEY.encode(): NOW + 4 * DAY}
    stream.read(exit_event(event_time=BEGINNING + timedelta(days=3)), watermark=NOW + 4 * DAY)
    assert (stream.account["duplicates"], stream.account["open_trips"], len(stream.results)) == (1, 0, 1)


def test_a_duplicate_after_the_horizon_is_late_not_a_new_trip() -> None:
    stream = Stream()
    stream.read(*five())
    stream.advance(NOW + 10 * MINUTE + DAY + 1)
    stream.read(*five(), watermark=NOW + 10 * MINUTE + DAY + 1)
    assert stream.account["late"] == 5
    stream.assert_nothing_is_left()


def test_a_deadline_is_seen_before_the_record_that_passes_it() -> None:
    stream = Stream()
    stream.read(start_event(), payment_event())
    results = stream.read(end_event(), watermark=NOW + 25 * HOUR + 1)
    assert [result.trip.revision for result in results] == [1, 2]
    assert results[0].missing == ("zone_exited", "zone_entered", "trip_ended")
    assert results[1].missing == ()


def test_an_event_does_not_extend_the_deadline() -> None:
    stream = Stream()
    stream.read(start_event())
    stream.read(exit_event(), watermark=NOW + 24 * HOUR)
    assert len(stream.advance(NOW + 25 * HOUR + 1)) == 1


def test_a_leap_past_both_deadlines_leaves_nothing() -> None:
    stream = Stream()
    stream.read(start_event())
    assert len(stream.advance(NOW + 30 * DAY)) == 1
    stream.assert_nothing_is_left()
    assert stream.account["incomplete_trips"] == 1


def test_without_a_watermark_nothing_is_late_and_nothing_expires() -> None:
    stream = Stream()
    old = timedelta(days=5000)
    stream.read(start_event(event_time=BEGINNING - old), end_event(event_time=BEGINNING + old), watermark=NO_WATERMARK)
    stream.advance(NO_WATERMARK)
    assert stream.account["open_trips"] == 1


@pytest.mark.parametrize("watermark", [NO_WATERMARK, NOW - 5000 * DAY])
@pytest.mark.parametrize("by_record", [True, False])
def test_a_jump_of_the_watermark_closes_no_trip_that_has_just_begun(watermark: int, by_record: bool) -> None:
    # After a gap in the log, or some rows of 2009 at its head, the watermark follows with the 20th message.
    stream = Stream()
    stream.read(start_event(), payment_event(), watermark=watermark)
    if by_record:
        stream.read(start_event(trip_key="other"), watermark=NOW)
    else:
        stream.advance(NOW)
    assert stream.results == []
    stream.read(end_event(), watermark=NOW)
    assert [complete(result) for result in stream.results] == [expected(trip())]


def test_the_timeout_runs_from_the_watermark_if_that_is_ahead_of_the_event() -> None:
    # Replaying an old file into a newer topic must not time out all its trips.
    stream = Stream()
    stream.read(start_event(), watermark=NOW + 20 * HOUR)
    assert stream.advance(NOW + 45 * HOUR) == []
    assert len(stream.advance(NOW + 45 * HOUR + 1)) == 1


def test_a_trip_completed_without_a_watermark_is_kept_and_then_dropped() -> None:
    stream = Stream()
    stream.read(*five(), watermark=NO_WATERMARK)
    assert len(stream.results) == 1
    stream.advance(NOW + 10 * MINUTE + DAY)
    assert len(stream.held) == 1
    stream.advance(NOW + 10 * MINUTE + DAY + 1)
    stream.assert_nothing_is_left()


def test_close_ends_open_trips_alone() -> None:
    stream = Stream()
    stream.read(start_event(trip_key="b"), end_event(trip_key="a"), *five())
    stream.results.clear()
    stream.take(stream.group.close(assembly().close))
    assert [(result.trip.trip_key, result.trip.revision) for result in stream.results] == [("a", 1), ("b", 1)]
    assert stream.account["incomplete_trips"] == 2
    assert stream.account["complete_trips"] == 1
    assert stream.take(stream.group.close(assembly().close)) == []
    stream.advance(NOW + 20 * DAY)
    stream.assert_nothing_is_left()


@pytest.mark.parametrize("watermark", [NOW, NO_WATERMARK])
def test_a_closed_trip_can_still_be_completed(watermark: int) -> None:
    stream = Stream()
    stream.read(start_event(), payment_event(), watermark=watermark)
    stream.take(stream.group.close(assembly().close))
    stream.group = group(stream.group.snapshot())
    (result,) = stream.read(end_event(), watermark=NOW + 2 * DAY)
    assert complete(result) == expected(trip())
    stream.advance(NOW + 20 * DAY)
    stream.assert_nothing_is_left()


def test_what_cannot_be_decoded_is_a_dead_letter() -> None:
    stream = Stream()
    bad = [
        Record(0, NOW, b"k", b"no json", None),
        Record(1, NOW, b"k", None, None),
        Record(2, NOW, None, encode(start_event()), None),
        Record(3, NOW, b"another", encode(start_event()), None),
        Record(4, NOW, b"", b"", None),
    ]
    stream.take(stream.group.process([batch(bad)]))
    assert stream.account["dead_letters"] == stream.account["events"] == 5
    assert all(stream.dead)
    stream.assert_nothing_is_left()


@given(trips())
@settings(max_examples=150, deadline=None)
def test_a_split_trip_is_reassembled(one: CompleteTrip) -> None:
    stream = Stream()
    stream.read(*split(one), watermark=NO_WATERMARK)
    assert [complete(result) for result in stream.results] == [expected(one)]
