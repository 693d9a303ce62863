"""What waits is there until it is called up, and is sealed again only where something has changed."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from chillflow.keyed.closed_states import held
from chillflow.keyed.deadlines import NEVER
from chillflow.keyed.open_states import OpenStates

HOUR = 2**22
dues = st.one_of(st.integers(-HOUR, 5 * HOUR), st.just(NEVER))
steps = st.one_of(
    st.tuples(st.just("put"), st.binary(min_size=1, max_size=1), dues),
    st.tuples(st.just("pop"), st.binary(min_size=1, max_size=1)),
    st.tuples(st.just("snapshot")),
)


@given(st.lists(steps, max_size=60))
def test_it_is_a_dict(todo: list[tuple[object, ...]]) -> None:
    one = OpenStates()
    model: dict[bytes, bytes] = {}
    for step in todo:
        match step:
            case ("put", bytes(key), int(due)):
                assert one.pop(key) == model.pop(key, None)
                model[key] = held(due, b"data")
                one.put(key, model[key])
            case ("pop", bytes(key)):
                assert one.pop(key) == model.pop(key, None)
            case _:
                assert _unpacked(one) == sorted(model.items())
        assert one.states == model
    assert _unpacked(one) == sorted(model.items())


def test_hours_without_a_change_are_not_sealed_again() -> None:
    sealed: list[bytes] = []

    def seal(data: bytes) -> bytes:
        sealed.append(data)
        return data

    one = OpenStates(seal)
    for number in range(50):
        one.put(b"%d" % number, held(number % 5 * HOUR, b"data"))
    one.snapshot()
    assert len(sealed) == 5
    one.snapshot()
    assert len(sealed) == 5
    one.pop(b"3")
    one.put(b"new", held(4 * HOUR, b"data"))
    one.snapshot()
    assert len(sealed) == 7
    for number in range(0, 50, 5):
        one.pop(b"%d" % number)
    assert len(one.snapshot()) == 4
    assert len(sealed) == 7


def _unpacked(one: OpenStates) -> list[tuple[bytes, bytes]]:
    """Each state that is in a snapshot, as often as it is there."""
    return sorted(
        item for piece in one.snapshot() for item in msgspec.msgpack.decode(piece, type=dict[bytes, bytes]).items()
    )
