"""Lists that know when what they hold was read: for the latency, at a cost by the list and not by the record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar

__all__ = ["Timed", "joined", "made_of", "oldest"]

T = TypeVar("T")


class Timed(list[T]):
    """A list, and when the first of what it was made of was read (seconds since 1970)."""

    __slots__ = ("read_at",)

    def __init__(self, values: Iterable[T], read_at: float) -> None:
        super().__init__(values)
        self.read_at = read_at


def oldest(lists: Iterable[Any]) -> float | None:
    """When the first of what these hold was read; those that do not know are passed over."""
    times = [getattr(each, "read_at", None) for each in lists]
    return min((time for time in times if time is not None), default=None)


def made_of(origin: Sequence[Any], values: list[T]) -> list[T]:
    """Values made of these, which have been there for as long."""
    return Timed(values, origin.read_at) if isinstance(origin, Timed) else values


def joined(lists: Sequence[list[T]], most: int) -> Iterator[list[T]]:
    """What these hold, in lists of so many at most that have been there for as long as the oldest.

    >>> [*joined([[1, 2], [3]], 2)]
    [[1, 2], [3]]
    """
    read_at = oldest(lists)
    values = [*chain.from_iterable(lists)]
    for first in range(0, len(values), most):
        some = values[first : first + most]
        yield some if read_at is None else Timed(some, read_at)
