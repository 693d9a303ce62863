"""Deadlines come in the order that one heap of all would give them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chillflow.keyed.deadlines import NEVER, Deadlines

times = st.one_of(st.integers(-(2**62), NEVER), st.integers(-200_000, 200_000))
keys = st.binary(max_size=2)


@given(st.lists(st.tuples(times, st.lists(st.tuples(times, keys)), st.lists(keys))), st.integers(0, 200_000))
def test_the_order_is_that_of_a_heap(steps: list[tuple[int, list[tuple[int, bytes]], list[bytes]]], again: int) -> None:
    """Some are added or taken back between and some while they are taken out."""
    deadlines = Deadlines()
    held: dict[bytes, int] = {}

    def move(due: int, key: bytes) -> None:
        if key in held:
            deadlines.remove(held[key], key)
        deadlines.add(due, key)
        held[key] = due

    for watermark, added, removed in steps:
        for due, key in added:
            move(due, key)
        for key in removed:
            if key in held:
                deadlines.remove(held.pop(key), key)
        assert deadlines.next <= min(held.values(), default=NEVER)
        assert sorted(deadlines) == sorted((due, key) for key, due in held.items())
        for due, key in deadlines.before(watermark):
            assert (due, key) == min((due, key) for key, due in held.items())
            assert due < watermark
            del held[key]
            if len(key) == 2:
                move(due + again, key[:1])
        assert min(held.values(), default=watermark) >= watermark
    assert sorted(deadlines) == sorted((due, key) for key, due in held.items())
