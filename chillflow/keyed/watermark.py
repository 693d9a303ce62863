"""The watermark of a partition: the `rank`-th largest event time among its messages so far. Pure.

With rank 20 and not 1, one wrong time moves nothing: yellow January 2022 holds a pickup of May, after which a quarter
of the next months' trips would have been late. Cost: 0.1 µs a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappush, heappushpop
from typing import cast

__all__ = ["NO_WATERMARK", "WatermarkTracker"]

NO_WATERMARK = -(2**62)
"""The watermark before there is one, ms: earlier than any event, so nothing is due and nothing is late."""


class WatermarkTracker:
    """The `rank`-th largest of the event times seen; NO_WATERMARK until there have been that many.

    >>> tracker = WatermarkTracker(rank=2)
    >>> tracker.observe(5) == NO_WATERMARK
    True
    >>> tracker.observe(9), tracker.observe(7), tracker.observe(100)
    (5, 7, 9)
    """

    def __init__(self, rank: int, largest: Sequence[int] = ()) -> None:
        self._rank = rank
        self._largest = sorted(largest)[-rank:]  # sorted, so a heap

    def observe(self, event_time: int) -> int:
        """Add one message's event time, ms; the watermark after it."""
        if len(self._largest) == self._rank:
            if event_time > self._largest[0]:
                heappushpop(self._largest, event_time)
        else:
            heappush(self._largest, event_time)
        return self.now

    def observe_all(self, event_times: Sequence[int | None]) -> Sequence[int]:
        """Add many messages' event times, ms; the watermark after each.

        A message without a time moves nothing. Times in order, as in a replay, take a fifth of the time: the watermark
        is then simply the event time of `rank` messages before.
        """
        largest, now = self._largest, self.now
        if now != NO_WATERMARK and None not in event_times:
            ahead = [*sorted(largest), *cast("Sequence[int]", event_times)]
            if ahead == sorted(ahead):
                self._largest = ahead[len(event_times) :]
                return ahead[1 : len(event_times) + 1]
        watermarks = []
        for time in event_times:
            if time is not None and time > now:  # no other can move it
                if now == NO_WATERMARK:
                    now = self.observe(time)
                else:
                    heappushpop(largest, time)
                    now = largest[0]
            watermarks.append(now)
        return watermarks

    @property
    def now(self) -> int:
        """The watermark, ms."""
        return self._largest[0] if len(self._largest) == self._rank else NO_WATERMARK

    def snapshot(self) -> list[int]:
        """The event times to resume from: `largest` of a new tracker."""
        return list(self._largest)
