"""The disorder of real streams, on purpose: events delayed, duplicated, dropped, or late. Pure.

The same events and seed give the same stream. An event keeps its event time; only its place in the stream
changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from heapq import heappop, heappush
from random import Random

from chillflow.production.splitting import PlacedEvent

__all__ = ["Disorder", "DisorderStats"]

_PAST_TIMEOUT = timedelta(hours=1)
"""Extra delay of a late event, so that the watermark of its partition is surely past the trip timeout."""
_US = timedelta(microseconds=1)


@dataclass
class DisorderStats:
    """Counts of events so far."""

    delayed: int = 0
    duplicated: int = 0
    dropped: int = 0
    late: int = 0


@dataclass(frozen=True)
class Disorder:
    """The kinds of disorder and their amounts: shares from 0 to 1, delays in event time."""

    shuffle: timedelta = timedelta(0)
    """The longest delay; each event gets a random one."""
    duplicates: float = 0.0
    drop: float = 0.0
    late: float = 0.0
    """Share of events delayed until the stream is more than `trip_timeout` ahead of them. Near the end, where it never
    gets that far, such an event comes last and counts as delayed."""
    seed: int = 0
    trip_timeout: timedelta = timedelta(hours=25)
    stats: DisorderStats = field(default_factory=DisorderStats)

    def __bool__(self) -> bool:
        return bool(self.shuffle or self.duplicates or self.drop or self.late)

    def apply(self, placed: Iterable[PlacedEvent]) -> Iterator[PlacedEvent]:
        """The events in the order of their new places."""
        random = Random(self.seed)
        shuffle, timeout = self.shuffle // _US, self.trip_timeout // _US
        lateness = timeout + shuffle + _PAST_TIMEOUT // _US
        waiting: list[tuple[int, int, PlacedEvent]] = []
        number, latest = 0, 0

        def due(now: int | None) -> Iterator[PlacedEvent]:
            nonlocal latest
            while waiting and (now is None or waiting[0][0] <= now):
                _, _, event = heappop(waiting)
                if latest - event.time > timeout:
                    self.stats.late += 1
                elif event.at > event.time:
                    self.stats.delayed += 1
                latest = max(latest, event.time)
                yield event

        for event in placed:
            if waiting and waiting[0][0] <= event.at:
                yield from due(event.at)
            for _ in range(self._copies(random)):
                at = event.at + (lateness if random.random() < self.late else random.randint(0, shuffle))
                number += 1
                heappush(waiting, (at, number, event.moved(at)))
        yield from due(None)

    def _copies(self, random: Random) -> int:
        """How many times the next event is sent: 0, 1 or 2."""
        if random.random() < self.drop:
            self.stats.dropped += 1
            return 0
        if random.random() < self.duplicates:
            self.stats.duplicated += 1
            return 2
        return 1
