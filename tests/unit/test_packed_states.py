"""Packed states are a dict, across changes, snapshots and restarts; full pieces are reused by the next snapshot."""

from __future__ import annotations

import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.keyed.deadlines import NEVER
from chillflow.keyed.packed_states import PackedStates, SpanSnapshot
from chillflow.keyed.packing import DEADLINE_BYTES, SPAN_BITS, PieceFormat, pack

SPAN = 2**SPAN_BITS
KEYS = st.sampled_from([b"%d" % number for number in range(6)])
THIRDS = st.sampled_from([each * SPAN // 3 for each in range(5)])
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, THIRDS | THIRDS | st.just(NEVER), st.sampled_from([b"", b"x" * 33_000])),
    st.tuples(st.just("pop"), KEYS),
    st.tuples(st.just("drop_before"), st.sampled_from([1, SPAN // 3, SPAN])),
    st.tuples(st.sampled_from(["snapshot", "restore"])),
)
"""Deadlines by a third of a span from the last watermark on; empty states, and some that fill a piece."""


@given(st.lists(STEPS, min_size=20, max_size=60))
@settings(max_examples=300, deadline=None)
def test_it_is_a_dict(steps: list[tuple[object, ...]]) -> None:
    packed, now = PackedStates(), 0
    model: dict[bytes, tuple[int, bytes]] = {}
    for step in steps:
        match step:
            case ("put", bytes(key), int(ahead), bytes(data)):
                deadline = min(now + ahead, NEVER)
                if key in model:
                    assert packed.pop(key) == pack(*model.pop(key))
                packed.put(key, deadline, data)
                model[key] = deadline, data
            case ("pop", bytes(key)) if key in model:
                assert packed.pop(key) == pack(*model.pop(key))
            case ("drop_before", int(far)):
                now += far
                packed.drop_before(now)
                model = {key: each for key, each in model.items() if each[0] >> SPAN_BITS >= now >> SPAN_BITS}
            case ("snapshot",):
                assert PackedStates(spans=packed.snapshot()).states == packed.states
            case ("restore",):
                packed = PackedStates(spans=pickle.loads(pickle.dumps(packed.snapshot())))
        assert packed.states == {key: pack(*each) for key, each in model.items()}
    assert sorted(packed.in_pieces()) == sorted(packed.states.items()), "each key once"
    assert packed.snapshot().keys() == {deadline >> SPAN_BITS for deadline, _ in model.values()}
    for key in [*packed.states]:
        packed.pop(key)
    assert packed.snapshot() == {}


class Written(list[int]):
    """The sizes of all pieces that were compressed."""

    @property
    def format(self) -> PieceFormat:
        """Pieces without compression."""

        def compress(data: bytes) -> bytes:
            self.append(len(data))
            return data

        return PieceFormat(compress=compress)


def filled(written: Written, count: int = 50) -> PackedStates:
    """States of 1,000 bytes that make one full piece."""
    packed = PackedStates(written.format)
    for number in range(count):
        packed.put(b"%d" % number, 5, b"x" * 1000)
    return packed


def only(snapshot: dict[int, SpanSnapshot]) -> SpanSnapshot:
    (span,) = snapshot.values()
    return span


def test_a_full_piece_is_not_written_again() -> None:
    written = Written()
    packed = filled(written)
    (full,), _ = only(packed.snapshot())
    packed.put(b"more", 5, b"y")
    (first, second), removed = only(packed.snapshot())
    assert first is full
    assert (len(written), written[0] > 32_768 > written[1], removed) == (2, True, [])
    (_, same), _ = only(packed.snapshot())
    assert same is second
    packed.pop(b"7")
    (first, _), removed = only(packed.snapshot())
    assert first is full
    assert (len(written), removed) == (2, [b"7"])


def test_the_piece_of_a_restored_span_is_not_written_again() -> None:
    before = filled(Written(), count=3)
    written = Written()
    packed = PackedStates(written.format, before.snapshot())
    packed.put(b"more", 5, b"y")
    (first, _), _ = only(packed.snapshot())
    assert first == only(before.snapshot())[0][0]
    assert len(written) == 1


def test_spans_without_a_change_are_not_written_again() -> None:
    written = Written()
    packed = PackedStates(written.format)
    for number in range(50):
        packed.put(b"%d" % number, number % 5 * SPAN, b"data")
    packed.snapshot()
    assert len(written) == 5
    packed.pop(b"3")
    packed.put(b"new", 4 * SPAN, b"data")
    packed.snapshot()
    assert len(written) == 7
    for number in range(0, 50, 5):
        packed.pop(b"%d" % number)
    assert len(packed.snapshot()) == 4
    assert len(written) == 7


def test_a_key_removed_from_a_full_piece_and_packed_again_has_its_new_state() -> None:
    packed = filled(Written())
    packed.snapshot()
    for deadline in (5, 6 * SPAN):
        packed.pop(b"7")
        packed.snapshot()
        packed.put(b"7", deadline, b"new")
        restored = PackedStates(spans=packed.snapshot())
        assert restored.states == packed.states
        assert restored.states[b"7"] == pack(deadline, b"new")


def test_a_span_is_written_again_once_half_of_its_keys_are_gone() -> None:
    written = Written()
    packed = filled(written)
    packed.snapshot()
    for number in range(25):
        packed.pop(b"%d" % number)
    (_,), removed = only(packed.snapshot())
    assert (len(written), len(removed)) == (1, 25)
    packed.pop(b"25")
    (piece,), removed = only(packed.snapshot())
    assert (len(written), removed) == (2, [])
    assert PieceFormat().read(piece) == packed.states
    assert len(packed.states) == 24


def test_a_passed_state_of_the_watermarks_span_stays_where_it_is() -> None:
    """Its key is listed in a passed span, too: it once was there."""
    packed = filled(Written())
    packed.snapshot()
    packed.pop(b"7")
    packed.put(b"7", SPAN + 5, b"new")
    for number in range(100, 150):
        packed.put(b"%d" % number, SPAN + 5, b"x" * 1000)
    packed.snapshot()
    packed.drop_before(SPAN + 10)
    assert b"7" in packed.states
    for number in range(100, 150):
        packed.pop(b"%d" % number)
    assert PackedStates(spans=packed.snapshot()).states == packed.states == {b"7": pack(SPAN + 5, b"new")}


def test_a_full_piece_keeps_the_schema_it_was_written_under() -> None:
    before = PackedStates(PieceFormat(b"A"))
    for number in range(50):
        before.put(b"%d" % number, 5, b"x" * 1000)
    newer = PieceFormat(b"B", adapt=lambda data, schema: schema + data)
    packed = PackedStates(newer, before.snapshot())
    packed.put(b"more", 5, b"y")
    pieces, _ = only(packed.snapshot())
    assert [schema for schema, _, _ in pieces] == [b"A", b"B"]
    for _ in range(2):
        found = {key: state[DEADLINE_BYTES:] for key, state in packed.states.items()}
        assert (found[b"7"], found[b"more"]) == (b"A" + b"x" * 1000, b"y")
        assert dict(packed.in_pieces()) == packed.states
        packed = PackedStates(newer, packed.snapshot())
