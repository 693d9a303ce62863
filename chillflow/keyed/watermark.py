"""Stream time of a partition: the event time that so many of its messages have reached.

Taking the 20th largest event time seen, not the largest, one wrong row moves nothing: yellow January 2022 holds
a pickup of May, after which a quarter of the next months' trips would have been late. Cost: 0.1 µs a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappush, heappushpop
from typing import Any

__all__ = ["NO_WATERMARK", "WatermarkTracker"]

NO_WATERMARK = -(2**62)
"""Stream time before there is one: earlier than any event, so nothing is due and nothing is late."""


class WatermarkTracker:
    """The `rank`-th largest of the event times seen; NO_WATERMARK until there have been that many.

    >>> time = WatermarkTracker(rank=2)
    >>> time.observe(5) == NO_WATERMARK
    True
    >>> [time.observe(t) for t in (9, 7, 100)]
    [5, 7, 9]
    """

    def __init__(self, rank: int, largest: Sequence[int] = ()) -> None:
        self._rank = rank
        self._largest = sorted(largest)[-rank:]  # sorted, so a heap

    def observe(self, event_time: int) -> int:
        """Take in one message's event time in ms; the stream time with it."""
        if len(self._largest) == self._rank:
            if event_time > self._largest[0]:
                heappushpop(self._largest, event_time)
        else:
            heappush(self._largest, event_time)
        return self.now

    def observe_all(self, event_times: Sequence[int | None]) -> Sequence[int]:
        """Take in many messages' event times; the stream time with each.

        A message without a time moves nothing. Times in order, as those of a replay, take a fifth of the time: the
        stream time is then as many messages behind as there are largest times.
        """
        largest, now = self._largest, self.now
        times: Any = event_times
        if now != NO_WATERMARK and None not in times:
            ahead = [*sorted(largest), *times]
            if ahead == sorted(ahead):
                self._largest = ahead[len(times) :]
                return ahead[1 : len(times) + 1]
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
        """The stream time, ms."""
        return self._largest[0] if len(self._largest) == self._rank else NO_WATERMARK

    def snapshot(self) -> list[int]:
        """What `largest` takes to go on from here."""
        return list(self._largest)
