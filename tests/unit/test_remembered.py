"""What is remembered is there until its time, whatever is called up, snapshots are taken, and restored."""

from __future__ import annotations

import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.keyed.closed_states import HEAD, ClosedStates, due_of

HOUR = 3_600_000
keys = st.binary(min_size=1, max_size=1)
steps = st.one_of(
    st.tuples(st.just("put"), keys, st.integers(0, 6 * HOUR), st.sampled_from([b"", b"x" * 20_000])),
    st.tuples(st.just("pop"), keys),
    st.tuples(st.just("go on"), st.integers(0, 3 * HOUR)),
    st.tuples(st.just("snapshot")),
    st.tuples(st.just("restore")),
)


@given(st.lists(steps, max_size=40))
@settings(max_examples=300, deadline=None)
def test_it_is_a_dict_that_forgets(todo: list[tuple[object, ...]]) -> None:
    one, now = ClosedStates(watermark=0), 0
    model: dict[bytes, tuple[int, bytes]] = {}
    for step in todo:
        match step:
            case ("put", bytes(key), int(ahead), bytes(data)):
                one.put(key, now + ahead, data)
                model[key] = now + ahead, data
            case ("pop", bytes(key)):
                one.pop(key)
                model.pop(key, None)
            case ("go on", int(far)):
                now += far
                one.sweep(now)
                model = {key: (due, data) for key, (due, data) in model.items() if due >= now}
            case ("snapshot",):
                one.snapshot()
            case _:
                one = ClosedStates(snapshot=pickle.loads(pickle.dumps(one.snapshot())), watermark=now)
        found = {key: (due_of(state), state[HEAD:]) for key, state in one.items(now)}
        assert found == model
        assert {key for key in one.states if one.get(key, now) is not None} == model.keys()
    one.sweep(now + 9 * HOUR)
    assert one.states == {}
    assert one.snapshot() == {}


def test_a_piece_that_is_full_is_not_made_anew() -> None:
    sealed: list[bytes] = []

    def seal(data: bytes) -> bytes:
        sealed.append(data)
        return data

    one = ClosedStates(seal)
    for number in range(50):
        one.put(b"%d" % number, 5, b"x" * 1000)
    first = one.snapshot()
    one.put(b"more", 5, b"y")
    second = one.snapshot()
    assert [len(data) > 32_768 for data in sealed] == [True, False]
    ((pieces, _),) = second.values()
    assert pieces[0] is first[0][0][0]
    one.snapshot()
    assert len(sealed) == 2
