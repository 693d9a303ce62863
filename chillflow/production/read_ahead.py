"""Read-ahead: a thread in which Polars prepares the next events while Python sends the current ones."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")
_AHEAD = 8
"""Items prepared in advance: one would not do, since a bucket of a file takes longer than sending a frame of events."""


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, up to `_AHEAD` of them prepared by a thread.

    At its end each Polars call waits up to Python's switch interval for the GIL: with 1 ms instead of 5, production is
    7 % faster.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.001)
    with ThreadPoolExecutor(1) as thread:
        under_way = deque(thread.submit(next, items, None) for _ in range(_AHEAD))
        try:
            while (item := under_way.popleft().result()) is not None:
                under_way.append(thread.submit(next, items, None))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
            sys.setswitchinterval(interval)
