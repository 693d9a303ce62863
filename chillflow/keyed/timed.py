"""Lists with a read time, so that latency is measured per list and not per record. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

__all__ = ["Timed", "earliest_read", "rebatched", "timed_like"]

T = TypeVar("T")


class Timed(list[T]):
    """A list, and the time the earliest record behind it was read (seconds since 1970)."""

    __slots__ = ("read_at",)

    def __init__(self, values: Iterable[T], read_at: float) -> None:
        super().__init__(values)
        self.read_at = read_at


def earliest_read(batches: Iterable[object]) -> float | None:
    """The earliest `read_at` of these batches; those without one are skipped."""
    times = [getattr(each, "read_at", None) for each in batches]
    return min((time for time in times if time is not None), default=None)


def timed_like(origin: Sequence[object], values: list[T]) -> list[T]:
    """The values, with the `read_at` of the list they were made from."""
    return Timed(values, origin.read_at) if isinstance(origin, Timed) else values


def rebatched(lists: Sequence[list[T]], longest: int) -> Iterator[list[T]]:
    """The items of all lists in lists of at most `longest`, with the earliest `read_at`.

    >>> [*rebatched([[1, 2], [3]], 2)]
    [[1, 2], [3]]
    """
    read_at = earliest_read(lists)
    values = [*chain.from_iterable(lists)]
    for first in range(0, len(values), longest):
        some = values[first : first + longest]
        yield some if read_at is None else Timed(some, read_at)
