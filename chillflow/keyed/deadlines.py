"""Deadlines of very many keys, in order, at a cost per key that does not grow with their number. Pure.

Deadlines lie in unsorted buckets of about a minute; a bucket is sorted when the watermark reaches it. One heap of
100,000 keys would cost 17 steps through cold memory per key.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import chain, islice

__all__ = ["NEVER", "Deadlines"]

NEVER = 2**63 - 1
"""Later than any watermark."""
_BUCKET = 16
"""Low bits of a deadline (ms) that are ignored to find its bucket: 65.5 s."""


class Deadlines:
    """Keys and their deadlines in ms, one each.

    >>> deadlines = Deadlines()
    >>> deadlines.add(5, b"b"), deadlines.add(5, b"a"), deadlines.add(6, b"x"), deadlines.add(7, b"c")
    (None, None, None, None)
    >>> deadlines.remove(6, b"x")
    >>> list(deadlines.before(7))
    [(5, b'a'), (5, b'b')]
    """

    def __init__(self) -> None:
        self.next = NEVER
        """No deadline is before this."""
        self._buckets: dict[int, dict[bytes, int]] = {}
        self._numbers: list[int] = []
        """A heap of the numbers of all buckets; a bucket may be empty."""
        self._current: list[tuple[int, bytes]] = []
        """The bucket that the watermark has reached, with later additions before its end; sorted."""
        self._taken = 0
        """The number of these that have been returned."""
        self._number = -NEVER
        """The number of the current bucket."""

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """All (deadline, key) pairs, unordered."""
        ahead = ((deadline, key) for bucket in self._buckets.values() for key, deadline in bucket.items())
        return chain(islice(self._current, self._taken, None), ahead)

    def add(self, deadline: int, key: bytes) -> None:
        """Add the deadline of a key that has no other."""
        number = deadline >> _BUCKET
        bucket = self._buckets.get(number)
        if bucket is not None:
            bucket[key] = deadline
        elif number > self._number:
            self._buckets[number] = {key: deadline}
            heappush(self._numbers, number)
            self.next = min(self.next, number << _BUCKET)
        else:
            place = bisect_left(self._current, (deadline, key), self._taken)
            if self._current[place : place + 1] != [(deadline, key)]:
                self._current.insert(place, (deadline, key))
                self.next = min(self.next, deadline)

    def remove(self, deadline: int, key: bytes) -> None:
        """Remove the deadline of a key, unless `before` has returned it."""
        bucket = self._buckets.get(deadline >> _BUCKET)
        if bucket is not None:
            bucket.pop(key, None)
        elif deadline >> _BUCKET <= self._number:
            place = bisect_left(self._current, (deadline, key), self._taken)
            if self._current[place : place + 1] == [(deadline, key)]:
                del self._current[place]

    def peek(self, watermark: int) -> int:
        """Sort the buckets that begin before `watermark` until a deadline is found. Returns `next`, then exact."""
        while self._taken == len(self._current):
            if not self._numbers or self._numbers[0] << _BUCKET >= watermark:
                self.next = self._numbers[0] << _BUCKET if self._numbers else NEVER
                return self.next
            self._number = heappop(self._numbers)
            bucket = self._buckets.pop(self._number)
            self._current, self._taken = sorted([(deadline, key) for key, deadline in bucket.items()]), 0
        self.next = self._current[self._taken][0]
        return self.next

    def before(self, watermark: int) -> Iterator[tuple[int, bytes]]:
        """Remove and return the deadlines before `watermark`, ordered by time and then by key.

        Deadlines that are added during the iteration are included.
        """
        while self.peek(watermark) < watermark:
            entry = self._current[self._taken]
            self._taken += 1
            yield entry
