"""The Bytewax operator that keeps windows and emits them while they change. The logic is in `windows`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from chillflow.assembly.windows import ShardDay, Terms, WatermarkUpdate, Window, WindowClock, WindowShard, spread
from chillflow.keyed.batches import CLOCK, PartitionProgress, is_progress
from chillflow.model.measures import Change

__all__ = ["WindowsOut", "live_windows"]


@dataclass(frozen=True)
class WindowsOut:
    """The streams out of `live_windows`."""

    windows: KeyedStream[list[Window]]
    """Windows that have changed, keyed by their unit."""
    passed: Stream[int]
    """Stream times that all partitions have passed, ms, at most one for each hour of it."""


_LIVE = timedelta(seconds=1)
"""How often a window is sent on while it changes."""


class _ShardLogic(StatefulBatchLogic[Any, list[Window], Any]):
    def __init__(self, terms: Terms, close: bool, on_snapshot: Callable[[int], None], snapshot: Any) -> None:
        self._unit = WindowShard(terms, snapshot)
        self._close = close
        self._on_snapshot = on_snapshot
        self._sent = datetime(1970, 1, 1, tzinfo=UTC)

    def on_batch(self, values: list[Any]) -> tuple[Iterable[list[Window]], bool]:
        for value in values:
            if isinstance(value, WatermarkUpdate):
                self._unit.advance(value)
            else:
                self._unit.add(value)
        return self._live(datetime.now(UTC))

    def on_notify(self) -> tuple[Iterable[list[Window]], bool]:
        return self._live(datetime.now(UTC))

    def on_eof(self) -> tuple[Iterable[list[Window]], bool]:
        if self._close:
            self._unit.close()
        return self._take()

    def notify_at(self) -> datetime | None:
        return self._sent + _LIVE if self._unit.has_unsent else None

    def snapshot(self) -> Any:
        state = self._unit.snapshot()
        self._on_snapshot(len(state["cells"]))
        return state

    def _live(self, now: datetime) -> tuple[Iterable[list[Window]], bool]:
        if now < self._sent + _LIVE:
            return [], not self._unit
        self._sent = now
        return self._take()

    def _take(self) -> tuple[Iterable[list[Window]], bool]:
        taken = self._unit.take()
        return [taken] if taken else [], not self._unit


class _ClockLogic(StatefulBatchLogic[Any, tuple[str, Any], Any]):
    def __init__(self, terms: Terms, snapshot: Any) -> None:
        self._clock = WindowClock(terms, snapshot)
        self._hour = 0

    def on_batch(self, values: list[PartitionProgress | list[ShardDay]]) -> tuple[Iterable[tuple[str, Any]], bool]:
        for value in values:
            if isinstance(value, PartitionProgress):
                self._clock.hear(value)
            else:
                for day in value:
                    self._clock.register(day)
        return self._tell()

    def on_eof(self) -> tuple[Iterable[tuple[str, Any]], bool]:
        self._clock.end()
        return self._tell()

    def _tell(self) -> tuple[Iterable[tuple[str, Any]], bool]:
        told: list[tuple[str, Any]] = [*self._clock.tell().items()]
        least = self._clock.now().least
        if least // 3_600_000 > self._hour:
            self._hour = least // 3_600_000
            told.append((CLOCK, least))
        return told, StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        return self._clock.snapshot()


@operator
def live_windows(
    step_id: str,
    up: KeyedStream[list[Change]],
    progress: KeyedStream[PartitionProgress],
    terms: Terms,
    *,
    close: bool = False,
    on_snapshot: Callable[[int], None] = lambda size: None,
) -> WindowsOut:
    """Keep the figures of windows, and send them on while they change.

    :arg up: What is to be added, with any key: see `Change`.
    :arg progress: How far partitions are, each after all that it stands for has arrived, with the key CLOCK.
    :arg terms: Which windows there are, when they are final, and when forgotten.
    :arg close: Whether at the end of a bounded run all windows are final.
    :arg on_snapshot: Called with the size of each snapshot of a unit, in bytes before it is pickled.
    """

    def place(item: tuple[str, list[Change]]) -> Iterator[tuple[str, Any]]:
        days = spread(item[1])
        yield CLOCK, [*days]
        for day, changes in days.items():
            yield day.unit, changes

    placed = op.branch("place_or_register", op.flat_map("place", up, place), is_progress)
    heard = op.merge("hear", placed.trues, progress)
    ticks = op.stateful_batch("clock", heard, lambda snapshot: _ClockLogic(terms, snapshot))
    told = op.branch("tell_or_pass", op.map("drop_key", ticks, lambda item: item[1]), is_progress)
    units = op.merge("add_and_tell", placed.falses, told.falses)
    windows = op.stateful_batch("units", units, lambda snapshot: _ShardLogic(terms, close, on_snapshot, snapshot))
    return WindowsOut(windows, op.map("take_time", told.trues, lambda item: cast("int", item[1])))
