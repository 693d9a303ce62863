"""TripAssembler: the library's way to put trips together without Kafka or Bytewax."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.assembly.account import difference
from chillflow.assembly.assembler import TripAssembler
from chillflow.assembly.tallies import ACCOUNT
from chillflow.model.events import Event
from chillflow.model.trips import DERIVED_FIELDS, CompleteTrip, derived
from chillflow.production.splitting import split
from tests.unit.vocabulary import end_event, five, payment_event, start_event, trip, trips


def with_derived(one: CompleteTrip, revision: int = 1) -> CompleteTrip:
    values = derived(one.trip_distance, one.pickup_ts, one.dropoff_ts)
    return one.model_copy(update={**dict(zip(DERIVED_FIELDS, values, strict=True)), "revision": revision})


@given(st.lists(trips(), max_size=4), st.randoms(use_true_random=False), st.data())
@settings(max_examples=100, deadline=None)
def test_shuffled_repeated_and_dropped_events(made: list[CompleteTrip], random: Any, data: st.DataObject) -> None:
    named = [one.model_copy(update={"trip_key": str(number)}) for number, one in enumerate(made)]
    events: list[Event] = [event for one in named for event in split(one)]
    dropped = data.draw(st.sets(st.sampled_from(range(len(events))))) if events else set()
    copies = [event for at, event in enumerate(events) if at not in dropped for _ in range(random.randint(1, 3))]
    random.shuffle(copies)
    assembler = TripAssembler()
    got = {one.trip_key: one for one in assembler.assemble(copies)}
    whole = [one for n, one in enumerate(named) if not dropped & {5 * n, 5 * n + 3, 5 * n + 4}]
    assert got == {one.trip_key: with_derived(one) for one in whole}
    partly = {event.trip_key for event in copies} - set(got)
    assert {one.trip_key for one in assembler.close()} == partly
    assert assembler.close() == []
    assert difference(assembler.account) == 0
    assert assembler.account["complete_trips"] == len(whole)
    assert assembler.account["incomplete_trips"] == len(partly)
    assert assembler.account["open_trips"] == 0
    assert assembler.account["duplicates"] == len(copies) - (len(events) - len(dropped))


def test_a_trip_comes_with_the_event_that_completes_it() -> None:
    assembler = TripAssembler()
    given_out = [assembler.add(event) for event in five()]
    assert given_out == [None, None, None, None, with_derived(trip())]


def test_a_correction_gives_the_trip_again() -> None:
    assembler = TripAssembler()
    corrected = payment_event(event_version=1, tip_amount=9.0)
    revisions = [*assembler.assemble([*five(), corrected, corrected])]
    assert revisions == [with_derived(trip()), with_derived(trip(tip_amount=9.0), 2)]


def test_close_says_what_is_known_and_what_lacks() -> None:
    assembler = TripAssembler()
    assert [*assembler.assemble([end_event(), start_event()])] == []
    (incomplete,) = assembler.close()
    assert incomplete.missing == ("zone_exited", "zone_entered", "payment_processed")
    known = {*type(start_event()).model_fields, *type(end_event()).model_fields}
    values = trip().model_dump(exclude_none=True)
    assert incomplete.fields == {name: values[name] for name in values if name in known and name != "trip_key"}
    assert incomplete.revision == 1
    assert assembler.add(payment_event()) == with_derived(trip(), 2)


@pytest.mark.parametrize("extra", [{"a": 1.0, "b": None}, {}, None])
def test_extra_columns(extra: dict[str, Any] | None) -> None:
    one = trip(extra_columns=extra)
    assert [*TripAssembler().assemble(split(one))] == [with_derived(one)]


def test_the_account_has_all_names() -> None:
    assert Counter(TripAssembler().account.values()) == {0: len(ACCOUNT)}
