"""What is due when, of very many keys: in order of time, at a cost that does not grow with their number. Pure.

Deadlines far ahead lie in buckets of about a minute, unsorted; only the bucket that time has come to is sorted. A heap
of all would cost 17 steps through cold memory for each of 100,000 trips.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import chain, islice

__all__ = ["NEVER", "Deadlines"]

NEVER = 2**63 - 1
"""Later than any watermark."""
_BUCKET = 16
"""The bits of a time (ms) that do not matter for its bucket: 65.5 s."""


class Deadlines:
    """Keys with the one time that each is due at.

    >>> deadlines = Deadlines()
    >>> deadlines.add(5, b"b"), deadlines.add(5, b"a"), deadlines.add(6, b"x"), deadlines.add(7, b"c")
    (None, None, None, None)
    >>> deadlines.remove(6, b"x")
    >>> list(deadlines.before(7))
    [(5, b'a'), (5, b'b')]
    """

    def __init__(self) -> None:
        self.next = NEVER
        """Nothing is due before this time."""
        self._buckets: dict[int, dict[bytes, int]] = {}
        self._numbers: list[int] = []
        """A heap of the buckets there are, and of some that are gone."""
        self._current: list[tuple[int, bytes]] = []
        """What is due in the bucket that time has come to, or was due earlier, in order."""
        self._taken = 0
        """How many of these have been taken out."""
        self._number = -NEVER
        """Of the bucket that time has come to."""

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """All entries, in no order."""
        ahead = ((due, key) for bucket in self._buckets.values() for key, due in bucket.items())
        return chain(islice(self._current, self._taken, None), ahead)

    def add(self, due: int, key: bytes) -> None:
        """Note the deadline of a key that has none."""
        number = due >> _BUCKET
        bucket = self._buckets.get(number)
        if bucket is not None:
            bucket[key] = due
        elif number <= self._number:
            insort(self._current, (due, key), self._taken)
            self.next = min(self.next, due)
        else:
            self._buckets[number] = {key: due}
            heappush(self._numbers, number)
            self.next = min(self.next, number << _BUCKET)

    def remove(self, due: int, key: bytes) -> None:
        """Take the deadline of a key back, unless it has been taken out."""
        number = due >> _BUCKET
        bucket = self._buckets.get(number)
        if bucket is not None:
            bucket.pop(key, None)
            if not bucket:
                del self._buckets[number]
                if self._taken == len(self._current):
                    self._skip()
        elif number <= self._number:
            place = bisect_left(self._current, (due, key), self._taken)
            if self._current[place : place + 1] == [(due, key)]:
                del self._current[place]

    def before(self, watermark: int) -> Iterator[tuple[int, bytes]]:
        """Take out what is due before `watermark`, in the order of time and then of keys.

        What is added meanwhile is given, too, if it is due.
        """
        while True:
            if self._taken < len(self._current):
                entry = self._current[self._taken]
                if entry[0] >= watermark:
                    self.next = entry[0]
                    return
                self._taken += 1
                yield entry
            elif self._numbers and self._numbers[0] << _BUCKET < watermark:
                self._number = heappop(self._numbers)
                bucket = self._buckets.pop(self._number, None) or {}
                self._current, self._taken = sorted([(due, key) for key, due in bucket.items()]), 0
            else:
                self._skip()
                return

    def _skip(self) -> None:
        """Pass over buckets that are gone: next is what there is next."""
        numbers, buckets = self._numbers, self._buckets
        while numbers and numbers[0] not in buckets:
            heappop(numbers)
        self.next = numbers[0] << _BUCKET if numbers else NEVER
