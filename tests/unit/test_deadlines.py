"""Deadlines come in the order that one heap of all would give them."""

from __future__ import annotations

from heapq import heappop, heappush

from hypothesis import given
from hypothesis import strategies as st

from chillflow.deadlines import NEVER, Deadlines

times = st.one_of(st.integers(-(2**62), NEVER), st.integers(-200_000, 200_000))
keys = st.binary(max_size=2)


@given(st.lists(st.tuples(times, st.lists(st.tuples(times, keys)))), st.integers(0, 200_000))
def test_the_order_is_that_of_a_heap(steps: list[tuple[int, list[tuple[int, bytes]]]], again: int) -> None:
    """Some are added between and some while they are taken out."""
    deadlines = Deadlines()
    heap: list[tuple[int, bytes]] = []
    for stamp, added in steps:
        for due, key in added:
            deadlines.add(due, key)
            heappush(heap, (due, key))
        assert deadlines.next <= min(heap, default=(NEVER, b""))[0]
        assert sorted(deadlines) == sorted(heap)
        for due, key in deadlines.before(stamp):
            assert (due, key) == heappop(heap)
            assert due < stamp
            if len(key) == 2:
                deadlines.add(due + again, key[:1])
                heappush(heap, (due + again, key[:1]))
        assert not heap or heap[0][0] >= stamp
    assert sorted(deadlines) == sorted(heap)
