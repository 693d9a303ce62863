"""The Bytewax source of production: events at full speed or at a pace, and rejected rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from chillflow.production.rejected import RejectedRow
from chillflow.production.replay import Replayed, ReplayStats
from chillflow.production.splitting import Events, PlacedEvent
from chillflow.telemetry.clocks import Clocks

__all__ = ["Batch", "Pace", "ReplaySource"]

_BATCH = 500
Batch: TypeAlias = Events | list[RejectedRow]


@dataclass(frozen=True)
class Pace:
    """Replay pace: `speed` times real time, or `rate` events a second; full speed if neither is set."""

    speed: float | None = None
    rate: float | None = None

    def __bool__(self) -> bool:
        return bool(self.speed or self.rate)

    def due(self, event: PlacedEvent, first: int, sent: int) -> float:
        """Seconds from the start until the event is due; `first` is the place of the first event, `sent` a count."""
        if self.speed:
            return (event.at - first) / 1e6 / self.speed
        return sent / self.rate if self.rate else 0.0


@dataclass(frozen=True)
class ReplaySource(FixedPartitionedSource[Batch, None]):
    """A replay from the beginning on each run: it keeps no state, because readers drop repeated event ids.

    `progress` receives the stats after each batch, in the thread that runs the flow.
    """

    replayed: Callable[[], Iterator[Replayed | Events]]
    """Items to send. The pace applies to single events only; trips of columns are counted here, in `stats`."""
    pace: Pace = field(default_factory=Pace)
    stats: ReplayStats = field(default_factory=ReplayStats)
    progress: Callable[[ReplayStats], None] = lambda stats: None
    stopping: Callable[[], bool] = lambda: False
    clocks: Clocks = field(default_factory=Clocks)

    def list_parts(self) -> list[str]:
        return ["replay"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _ReplayPartition:
        return _ReplayPartition(self)


class _ReplayPartition(StatefulSourcePartition[Batch, None]):
    def __init__(self, source: ReplaySource) -> None:
        self._source = source
        self._items = source.replayed()
        self._next: Replayed | Events | None = next(self._items, None)
        self._first: int | None = None
        self._monotonic = source.clocks.monotonic
        self._start = self._monotonic()
        self._wait = 0.0

    def next_batch(self) -> list[Batch]:
        source = self._source
        if self._next is None or source.stopping():
            raise StopIteration
        self._wait = 0.0
        batches = self._at_once(self._next) if isinstance(self._next, Events) else self._due()
        source.progress(source.stats)
        return batches

    def _at_once(self, events: Events) -> list[Batch]:
        self._source.stats.trips += events.kinds.count(0)
        self._next = next(self._items, None)
        return [self._counted(events)]

    def _due(self) -> list[Batch]:
        """The events that are due and the rejected rows before them, at most `_BATCH` in all."""
        placed: list[PlacedEvent] = []
        rejected: list[RejectedRow] = []
        pace, stats = self._source.pace, self._source.stats
        elapsed, sent = self._monotonic() - self._start, stats.events
        item = self._next
        for _ in range(_BATCH):
            if isinstance(item, PlacedEvent):
                if self._first is None:
                    self._first, self._start, elapsed = item.at, self._monotonic(), 0.0
                if pace:
                    self._wait = pace.due(item, self._first, sent) - elapsed
                    if self._wait > 0:
                        break
                    sent += 1
                placed.append(item)
            elif isinstance(item, RejectedRow):
                rejected.append(item)
            else:
                break
            item = next(self._items, None)
        self._next = item
        stats.rejected += len(rejected)
        batches: list[Batch] = [rejected] if rejected else []
        if placed:
            batches.append(self._counted(Events.of(placed)))
        return batches

    def _counted(self, events: Events) -> Events:
        stats = self._source.stats
        stats.events += len(events.times)
        if stats.first is None:
            stats.first = events.times[0]
        return events

    def next_awake(self) -> datetime | None:
        if self._wait <= 0:
            return None
        soon = min(self._wait, 0.2)  # to notice a request to stop
        return datetime.fromtimestamp(self._source.clocks.wall() + soon, UTC)

    def snapshot(self) -> None:
        return None
