"""Batches of records: split by key group, and pickled without the events that can be decoded again."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from chillflow.keyed.batches import Batch, RecordColumns, Undecodable
from chillflow.model.events import DecodedEvent
from tests.unit.vocabulary import NOW, batch, cut, events, five, records

MADE = st.lists(events(), max_size=8).map(lambda some: batch(some, [*range(NOW, NOW + len(some))]))


def rows(some: Batch[DecodedEvent]) -> list[tuple[object, ...]]:
    """Each record, its event and its watermark."""
    return [*zip(*some.records, some.events, some.watermarks, strict=True)]


@given(MADE, st.data())
def test_a_split_keeps_each_record_with_its_event_and_watermark(made: Batch[DecodedEvent], data: st.DataObject) -> None:
    groups = data.draw(st.lists(st.integers(0, 3), min_size=len(made), max_size=len(made)))
    split = made.split(groups)
    assert split.keys() == {*groups}
    for group, some in split.items():
        assert rows(some) == [row for row, its in zip(rows(made), groups, strict=True) if its == group]
        assert (some.read_at, some.decode, len(some)) == (made.read_at, made.decode, groups.count(group))


@given(MADE, st.sets(st.integers(0, 8)))
def test_a_batch_that_is_cut_is_the_same_batch(made: Batch[DecodedEvent], places: set[int]) -> None:
    assert [*chain.from_iterable(map(rows, cut(made, places)))] == rows(made)


def test_a_batch_is_decoded_again_on_arrival() -> None:
    some = records(five())
    some[2] = some[2]._replace(value=b"hello")
    some[3] = some[3]._replace(key=None)
    sent = replace(batch(some), read_at=1.5)
    arrived = pickle.loads(pickle.dumps(sent))
    assert arrived == sent
    assert [isinstance(event, Undecodable) for event in arrived.events] == [False, False, True, True, False]


def test_without_a_function_events_are_pickled() -> None:
    sent = Batch(RecordColumns.of(records(five())[:2]), ["an event", Undecodable("why")], [NOW, NOW], 1.5)
    assert pickle.loads(pickle.dumps(sent)) == sent


def test_what_arrives_is_what_the_function_makes_of_the_bytes() -> None:
    made = Batch(RecordColumns.of(records(five())[:2]), [-1, -1], [NOW, NOW], None, lengths)
    assert pickle.loads(pickle.dumps(made)).events == [*map(len, made.records.values)]  # type: ignore[arg-type]


def lengths(keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> list[int]:
    return [len(value or b"") for value in values]


def test_columns_are_records() -> None:
    some = records(five())
    columns = RecordColumns.of(some)
    assert columns.records() == some
    assert [columns.record(at) for at in range(5)] == some
    assert [columns.before(end).records() for end in (0, 2, 5)] == [[], some[:2], some]
