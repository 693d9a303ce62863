"""The source of the production: legs of trips, in event-time order, at the wanted pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import islice

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from chillflow.replay import RejectedRow, Replayed, ReplayStats
from chillflow.splitting import Leg

__all__ = ["Pace", "ReplaySource"]

_BATCH = 500


@dataclass(frozen=True)
class Pace:
    """How fast to replay: event time `speed` times the clock, or `rate` events a second; else at full speed."""

    speed: float | None = None
    rate: float | None = None

    def __bool__(self) -> bool:
        return bool(self.speed or self.rate)

    def due(self, leg: Leg, first: int, sent: int) -> float:
        """Seconds after the start at which the leg is due; `first` is the place of the first leg in µs."""
        if self.speed:
            return (leg.at - first) / 1e6 / self.speed
        return sent / self.rate if self.rate else 0.0


@dataclass(frozen=True)
class ReplaySource(FixedPartitionedSource[list[Replayed], None]):
    """Replays from the beginning each time it is run: a reader that ignores repeated event ids sees each once.

    `progress` is called with the stats now and then, in the thread that runs the flow.
    """

    replayed: Callable[[], Iterator[Replayed]]
    pace: Pace = field(default_factory=Pace)
    stats: ReplayStats = field(default_factory=ReplayStats)
    progress: Callable[[ReplayStats], None] = lambda stats: None
    stopping: Callable[[], bool] = lambda: False

    def list_parts(self) -> list[str]:
        return ["replay"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:
        return _Partition(self)


class _Partition(StatefulSourcePartition[list[Replayed], None]):
    def __init__(self, source: ReplaySource) -> None:
        self._source = source
        self._items = source.replayed()
        self._next: Replayed | None = next(self._items, None)
        self._first: int | None = None
        self._start = time.monotonic()
        self._wait = 0.0

    def next_batch(self) -> list[list[Replayed]]:
        source = self._source
        if self._next is None or source.stopping():
            raise StopIteration
        self._wait = 0.0
        batch = self._due() if source.pace else self._at_once()
        source.progress(source.stats)
        return [batch] if batch else []

    def _at_once(self) -> list[Replayed]:
        """The next batch at full speed: to ask of each leg whether it is due would take 5 % of the production."""
        assert self._next is not None
        batch = [self._next, *islice(self._items, _BATCH - 1)]
        self._next = next(self._items, None)
        self._count(batch)
        return batch

    def _due(self) -> list[Replayed]:
        """Of the next batch what is due."""
        batch: list[Replayed] = []
        elapsed = time.monotonic() - self._start
        while self._next is not None and len(batch) < _BATCH:
            item = self._next
            if not isinstance(item, RejectedRow):
                if self._first is None:
                    self._first, self._start, elapsed = item.at, time.monotonic(), 0.0
                self._wait = self._source.pace.due(item, self._first, self._source.stats.events) - elapsed
                if self._wait > 0:
                    break
            batch.append(item)
            self._count([item])
            self._next = next(self._items, None)
        return batch

    def _count(self, items: list[Replayed]) -> None:
        stats = self._source.stats
        legs = [item for item in items if not isinstance(item, RejectedRow)]
        stats.rejected += len(items) - len(legs)
        stats.events += sum([len(leg.kinds) for leg in legs])
        if stats.first is None and legs:
            stats.first = legs[0].time

    def next_awake(self) -> datetime | None:
        if self._wait <= 0:
            return None
        return datetime.now(timezone.utc) + timedelta(seconds=min(self._wait, 0.2))  # a signal is seen soon

    def snapshot(self) -> None:
        return None
