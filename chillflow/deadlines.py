"""What is due when, of very many keys: in order of time, at a cost that does not grow with their number. Pure.

Deadlines far ahead lie in buckets of about a minute, unsorted; only the bucket that time has come to is sorted. A heap
of all would cost 17 steps through cold memory for each of 100,000 trips that are remembered for a day.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import chain, islice

__all__ = ["NEVER", "Deadlines"]

NEVER = 2**63 - 1
"""Later than any stamp."""
_BUCKET = 16
"""The bits of a time (ms) that do not matter for its bucket: 65.5 s."""


class Deadlines:
    """Times with their keys. An entry stays until its time has passed, also when its key has another deadline by then.

    >>> deadlines = Deadlines()
    >>> deadlines.add(5, b"b"), deadlines.add(5, b"a"), deadlines.add(7, b"c")
    (None, None, None)
    >>> list(deadlines.before(7))
    [(5, b'a'), (5, b'b')]
    """

    def __init__(self) -> None:
        self.next = NEVER
        """Nothing is due before this time."""
        self._buckets: dict[int, list[tuple[int, bytes]]] = {}
        self._numbers: list[int] = []
        """A heap of the buckets there are."""
        self._current: list[tuple[int, bytes]] = []
        """What is due in the bucket that time has come to, or was due earlier, in order."""
        self._taken = 0
        """How many of these have been taken out."""
        self._number = -NEVER
        """Of the bucket that time has come to."""

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """All entries, in no order."""
        return chain(islice(self._current, self._taken, None), *self._buckets.values())

    def add(self, due: int, key: bytes) -> None:
        """Note a deadline."""
        number = due >> _BUCKET
        bucket = self._buckets.get(number)
        if bucket is not None:
            bucket.append((due, key))
        elif number <= self._number:
            insort(self._current, (due, key), self._taken)
            self.next = min(self.next, due)
        else:
            self._buckets[number] = [(due, key)]
            heappush(self._numbers, number)
            self.next = min(self.next, number << _BUCKET)

    def before(self, stamp: int) -> Iterator[tuple[int, bytes]]:
        """Take out what is due before `stamp`, in the order of time and then of keys.

        What is added meanwhile is given, too, if it is due.
        """
        while True:
            if self._taken < len(self._current):
                entry = self._current[self._taken]
                if entry[0] >= stamp:
                    self.next = entry[0]
                    return
                self._taken += 1
                yield entry
            elif self._numbers and self._numbers[0] << _BUCKET < stamp:
                self._number = heappop(self._numbers)
                self._current, self._taken = self._buckets.pop(self._number), 0
                self._current.sort()
            else:
                self.next = self._numbers[0] << _BUCKET if self._numbers else NEVER
                return
