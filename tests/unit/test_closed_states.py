"""Closed states are kept until their deadlines, across changes, snapshots and restarts."""

from __future__ import annotations

import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.keyed.closed_states import ClosedStates
from chillflow.keyed.packing import DEADLINE_BYTES, PieceFormat, deadline_of

HOUR = 3_600_000
keys = st.binary(min_size=1, max_size=1)
steps = st.one_of(
    st.tuples(st.just("put"), keys, st.integers(0, 6 * HOUR), st.sampled_from([b"", b"x" * 20_000])),
    st.tuples(st.just("pop"), keys),
    st.tuples(st.just("advance"), st.integers(0, 3 * HOUR)),
    st.tuples(st.just("snapshot")),
    st.tuples(st.just("restore")),
)


@given(st.lists(steps, max_size=40))
@settings(max_examples=300, deadline=None)
def test_it_is_a_dict_with_deadlines(todo: list[tuple[object, ...]]) -> None:
    closed, now = ClosedStates(watermark=0), 0
    model: dict[bytes, tuple[int, bytes]] = {}
    for step in todo:
        match step:
            case ("put", bytes(key), int(ahead), bytes(data)):
                closed.put(key, now + ahead, data)
                model[key] = now + ahead, data
            case ("pop", bytes(key)):
                closed.pop(key)
                model.pop(key, None)
            case ("advance", int(far)):
                now += far
                closed.sweep(now)
                model = {key: (deadline, data) for key, (deadline, data) in model.items() if deadline >= now}
            case ("snapshot",):
                closed.snapshot()
            case _:
                closed = ClosedStates(snapshot=pickle.loads(pickle.dumps(closed.snapshot())), watermark=now)
        found = {key: (deadline_of(packed), packed[DEADLINE_BYTES:]) for key, packed in closed.items(now)}
        assert found == model
        assert {key for key in closed.states if closed.get(key, now) is not None} == model.keys()
    closed.sweep(now + 9 * HOUR)
    assert closed.states == {}
    assert closed.snapshot() == {}


def test_a_full_piece_is_not_written_again() -> None:
    written: list[bytes] = []

    def compress(data: bytes) -> bytes:
        written.append(data)
        return data

    closed = ClosedStates(PieceFormat(compress=compress))
    for number in range(50):
        closed.put(b"%d" % number, 5, b"x" * 1000)
    first = closed.snapshot()
    closed.put(b"more", 5, b"y")
    second = closed.snapshot()
    assert [len(data) > 32_768 for data in written] == [True, False]
    ((pieces, _),) = second.values()
    assert pieces[0] is first[0][0][0]
    closed.snapshot()
    assert len(written) == 2


def test_a_full_piece_keeps_the_schema_it_was_written_under() -> None:
    before = ClosedStates(PieceFormat(b"A"))
    for number in range(50):
        before.put(b"%d" % number, 5, b"x" * 1000)
    closed = ClosedStates(PieceFormat(b"B", adapt=lambda data, schema: schema + data), before.snapshot(), 0)
    closed.put(b"more", 5, b"y")
    ((pieces, _),) = closed.snapshot().values()
    assert [schema for schema, _, _ in pieces] == [b"A", b"B"]
    for _ in range(2):
        found = {key: packed[DEADLINE_BYTES:] for key, packed in closed.items(0)}
        assert (found[b"7"], found[b"more"]) == (b"A" + b"x" * 1000, b"y")
        closed = ClosedStates(PieceFormat(b"B", adapt=lambda data, schema: schema + data), closed.snapshot(), 0)
