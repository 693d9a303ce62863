"""Open states stay until they are removed, and a piece is written again only after a change in its span."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chillflow.keyed.deadlines import NEVER
from chillflow.keyed.open_states import OpenStates
from chillflow.keyed.packing import PieceFormat, pack

SPAN = 2**22
deadlines = st.one_of(st.integers(-SPAN, 5 * SPAN), st.just(NEVER))
steps = st.one_of(
    st.tuples(st.just("put"), st.binary(min_size=1, max_size=1), deadlines),
    st.tuples(st.just("pop"), st.binary(min_size=1, max_size=1)),
    st.tuples(st.just("snapshot")),
)


@given(st.lists(steps, max_size=60))
def test_it_is_a_dict(todo: list[tuple[object, ...]]) -> None:
    states = OpenStates()
    model: dict[bytes, bytes] = {}
    for step in todo:
        match step:
            case ("put", bytes(key), int(deadline)):
                assert states.pop(key) == model.pop(key, None)
                model[key] = pack(deadline, b"data")
                states.put(key, model[key])
            case ("pop", bytes(key)):
                assert states.pop(key) == model.pop(key, None)
            case _:
                assert stored(states) == sorted(model.items())
        assert states.states == model
    assert stored(states) == sorted(model.items())


def test_spans_without_a_change_are_not_written_again() -> None:
    written: list[bytes] = []

    def compress(data: bytes) -> bytes:
        written.append(data)
        return data

    states = OpenStates(PieceFormat(compress=compress))
    for number in range(50):
        states.put(b"%d" % number, pack(number % 5 * SPAN, b"data"))
    states.snapshot()
    assert len(written) == 5
    states.snapshot()
    assert len(written) == 5
    states.pop(b"3")
    states.put(b"new", pack(4 * SPAN, b"data"))
    states.snapshot()
    assert len(written) == 7
    for number in range(0, 50, 5):
        states.pop(b"%d" % number)
    assert len(states.snapshot()) == 4
    assert len(written) == 7


def stored(states: OpenStates) -> list[tuple[bytes, bytes]]:
    """Each state of a snapshot, as often as it occurs."""
    return sorted(item for piece in states.snapshot() for item in PieceFormat().read(piece).items())
