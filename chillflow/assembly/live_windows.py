"""The Bytewax operator that keeps windows and emits them while they change. The logic is in `windows`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, cast

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from chillflow.assembly.windows import (
    ClockSnapshot,
    ShardDay,
    ShardSnapshot,
    Terms,
    WatermarkUpdate,
    Window,
    WindowClock,
    WindowShard,
    spread,
)
from chillflow.keyed.batches import CLOCK, PartitionProgress
from chillflow.model.measures import Change

__all__ = ["WindowsOut", "live_windows"]


@dataclass(frozen=True)
class WindowsOut:
    """The streams out of `live_windows`."""

    windows: KeyedStream[list[Window]]
    """Changed windows, keyed by shard."""
    passed: Stream[int]
    """Watermarks (ms) that all partitions have passed, at most one an hour of event time."""


_LIVE = timedelta(seconds=1)
"""A shard emits its changed windows this often."""
_NEVER_SENT = datetime(1970, 1, 1, tzinfo=UTC)

Days: TypeAlias = list[ShardDay]
ShardItem: TypeAlias = list[Change] | WatermarkUpdate
ClockItem: TypeAlias = PartitionProgress | Days
Tick: TypeAlias = tuple[str, WatermarkUpdate | int]
"""A shard's name and its update, or CLOCK and a watermark that all partitions have passed."""


def _wall_clock() -> datetime:
    return datetime.now(UTC)


class _ShardLogic(StatefulBatchLogic[ShardItem, list[Window], ShardSnapshot]):
    """One window shard: changes and watermark updates in, changed windows out at most once a second."""

    def __init__(
        self,
        terms: Terms,
        snapshot: ShardSnapshot | None,
        *,
        close: bool,
        on_snapshot: Callable[[int], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._shard = WindowShard(terms, snapshot)
        self._close = close
        self._on_snapshot = on_snapshot
        self._clock = clock
        self._sent = _NEVER_SENT

    def on_batch(self, values: list[ShardItem]) -> tuple[Iterable[list[Window]], bool]:
        for value in values:
            if isinstance(value, WatermarkUpdate):
                self._shard.advance(value)
            else:
                self._shard.add(value)
        return self._live()

    def on_notify(self) -> tuple[Iterable[list[Window]], bool]:
        return self._live()

    def on_eof(self) -> tuple[Iterable[list[Window]], bool]:
        if self._close:
            self._shard.close()
        return self._take()

    def notify_at(self) -> datetime | None:
        return self._sent + _LIVE if self._shard.has_unsent else None

    def snapshot(self) -> ShardSnapshot:
        state = self._shard.snapshot()
        self._on_snapshot(len(state["cells"]))
        return state

    def _live(self) -> tuple[Iterable[list[Window]], bool]:
        now = self._clock()
        if now < self._sent + _LIVE:
            return [], not self._shard
        self._sent = now
        return self._take()

    def _take(self) -> tuple[Iterable[list[Window]], bool]:
        taken = self._shard.take()
        return [taken] if taken else [], not self._shard


class _ClockLogic(StatefulBatchLogic[ClockItem, Tick, ClockSnapshot]):
    """The window clock: progress of partitions and days of windows in, updates of shards out."""

    def __init__(self, terms: Terms, snapshot: ClockSnapshot | None) -> None:
        self._clock = WindowClock(terms, snapshot)
        self._hour = 0

    def on_batch(self, values: list[ClockItem]) -> tuple[Iterable[Tick], bool]:
        for value in values:
            if isinstance(value, PartitionProgress):
                self._clock.receive(value)
            else:
                for day in value:
                    self._clock.register(day)
        return self._due()

    def on_eof(self) -> tuple[Iterable[Tick], bool]:
        self._clock.end()
        return self._due()

    def snapshot(self) -> ClockSnapshot:
        return self._clock.snapshot()

    def _due(self) -> tuple[Iterable[Tick], bool]:
        ticks: list[Tick] = [*self._clock.updates().items()]
        least = self._clock.now().least
        if least // 3_600_000 > self._hour:
            self._hour = least // 3_600_000
            ticks.append((CLOCK, least))
        return ticks, StatefulBatchLogic.RETAIN


def _is_for_clock(item: tuple[str, object]) -> bool:
    return item[0] == CLOCK


@operator
def live_windows(
    step_id: str,
    up: KeyedStream[list[Change]],
    progress: KeyedStream[PartitionProgress],
    terms: Terms,
    *,
    close: bool = False,
    on_snapshot: Callable[[int], None] = lambda size: None,
    clock: Callable[[], datetime] = _wall_clock,
) -> WindowsOut:
    """Keep windows of measures, and emit them while they change.

    :arg up: Changes to windows, with any key.
    :arg progress: Progress of partitions with the key CLOCK, sent when all records before it have arrived.
    :arg terms: The lengths of windows, and when they become final and are dropped.
    :arg close: Whether all windows become final at the end of a bounded run.
    :arg on_snapshot: Called with the size of each snapshot of a shard, in bytes before it is pickled.
    :arg clock: The wall clock that limits how often windows are emitted; it does not affect their contents.
    """

    def place(item: tuple[str, list[Change]]) -> Iterator[tuple[str, Days | list[Change]]]:
        days = spread(item[1])
        yield CLOCK, [*days]
        for day, changes in days.items():
            yield day.shard, changes

    def shard_logic(snapshot: ShardSnapshot | None) -> _ShardLogic:
        return _ShardLogic(terms, snapshot, close=close, on_snapshot=on_snapshot, clock=clock)

    placed = op.branch("place_or_register", op.flat_map("place", up, place), _is_for_clock)
    received = cast("KeyedStream[ClockItem]", op.merge("hear", placed.trues, progress))
    ticks = op.stateful_batch("clock", received, lambda snapshot: _ClockLogic(terms, snapshot))
    ticked = op.branch("tell_or_pass", op.map("drop_key", ticks, lambda item: item[1]), _is_for_clock)
    items = cast("KeyedStream[ShardItem]", op.merge("add_and_tell", placed.falses, ticked.falses))
    windows = op.stateful_batch("units", items, shard_logic)
    return WindowsOut(windows, op.map("take_time", ticked.trues, lambda item: cast("int", item[1])))
