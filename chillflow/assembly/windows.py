"""Live windows: the measures of zones in tumbling windows of drop-off time, exact even for late trips. Pure.

A window is emitted while it changes, once more as final when the watermark has passed its end by `grace`, and again
whenever a late trip changes it. It is dropped when no partition can change it any more (`Assembly` excludes trips that
come later than that).

The cost of a snapshot must depend on what has changed, not on what is kept. So windows live in window shards, each with
some days of a share of the zones, and Bytewax writes only the shards that an epoch touched. The names of shards repeat
after 64 days, because Bytewax keeps every key forever.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import gcd
from typing import NamedTuple, TypedDict

import msgspec

from chillflow.errors import RecoveryError
from chillflow.keyed.batches import PartitionProgress
from chillflow.keyed.deadlines import NEVER
from chillflow.keyed.versions import refuse_newer
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.model.measures import MEASURES, Change, add_to

__all__ = [
    "ClockSnapshot",
    "ShardDay",
    "ShardSnapshot",
    "Terms",
    "WatermarkUpdate",
    "Window",
    "WindowClock",
    "WindowShard",
    "share_of",
    "spread",
    "to_time",
]

VERSION = 1
_DAY = 86_400_000
_SLOTS = 64
"""The number of days with different shard names. Days with the same name are in one shard."""
_SHARES = 16
"""Zones are divided into this many shares."""
_CHANGES, _FINAL, _UNSENT = range(len(MEASURES), len(MEASURES) + 3)
"""Positions after the measures in the cell of a window: the number of changes, whether final, whether in `_unsent`."""


class WatermarkUpdate(NamedTuple):
    """The combined watermarks of all partitions, as window shards receive them."""

    final: int
    """The watermark (ms) that makes windows final when it has passed their end by `grace`."""
    least: int
    """The lowest watermark of all partitions (ms), which decides when windows are dropped."""


class ShardDay(NamedTuple):
    """A day of windows in a shard."""

    shard: str
    start: int
    """ms since 1970"""


class Window(NamedTuple):
    """A window and its measures."""

    zone_id: int
    length: int
    """ms"""
    start: int
    """ms since 1970"""
    measures: Sequence[int]
    """In the order of MEASURES, money in cents."""
    changes: int
    final: bool


class ShardSnapshot(TypedDict):
    """A window shard as plain values."""

    version: int
    measures: tuple[str, ...]
    """The names of the sums in `cells`."""
    time: tuple[int, int]
    cells: bytes
    """Zone, length, start and cell of each window, in MessagePack."""


class ClockSnapshot(TypedDict):
    """The window clock as plain values."""

    version: int
    progress: dict[str, tuple[int, bool]]
    final: int
    updated: dict[tuple[str, int], int]


class Terms(NamedTuple):
    """Lengths of windows and how long they are kept, in ms."""

    lengths: tuple[int, ...]
    """Each divides a day."""
    grace: int
    horizon: int
    """A window is kept until all partitions have passed its end by this much."""

    @classmethod
    def of(cls, lengths: Iterable[timedelta], grace: timedelta, longest_trip: timedelta) -> Terms:
        """Terms that exclude no trip of at most this length from windows."""
        millisecond = timedelta(milliseconds=1)
        sizes = tuple(length // millisecond for length in lengths)
        return cls(sizes, grace // millisecond, longest_trip // millisecond + max(sizes))


def spread(changes: Iterable[Change]) -> dict[ShardDay, list[Change]]:
    """The changes, by shard and day of their windows."""
    found: defaultdict[int, list[Change]] = defaultdict(list)
    for change in changes:
        found[change[1] // _DAY * _SHARES + change[0] % _SHARES].append(change)
    return {_shard_day(place): some for place, some in found.items()}


@lru_cache(4096)
def _shard_day(place: int) -> ShardDay:
    day, share = divmod(place, _SHARES)
    return ShardDay(f"{day % _SLOTS:02d}/{share:02d}", day * _DAY)


def share_of(shard: str) -> int:
    """The number of the share of zones that a shard holds."""
    return int(shard.partition("/")[2])


class WindowShard:
    """The windows of some days, for a share of the zones."""

    def __init__(self, terms: Terms, snapshot: ShardSnapshot | None = None) -> None:
        """Start empty, or from a snapshot. Raises RecoveryError if it is of a newer release or has other measures."""
        self._terms = terms
        self._watermarks = WatermarkUpdate(NO_WATERMARK, NO_WATERMARK)
        self._cells: dict[tuple[int, int, int], list[int]] = {}
        """By zone, length and start: the measures, then the values at `_CHANGES`, `_FINAL` and `_UNSENT`."""
        self._unsent: list[tuple[int, int, int]] = []
        """Windows changed since `take`, the first changed first."""
        self._oldest = NEVER
        """The earliest day with windows."""
        if snapshot is not None:
            refuse_newer("windows", snapshot["version"], VERSION)
            _require_measures(snapshot["measures"])
            self._watermarks = WatermarkUpdate(*snapshot["time"])
            for zone, length, start, cell in _unpack(snapshot["cells"]):
                self._cells[zone, length, start] = cell
                self._oldest = min(self._oldest, _day(start))
                if cell[_UNSENT]:
                    self._unsent.append((zone, length, start))

    def snapshot(self) -> ShardSnapshot:
        """All windows, as plain values."""
        rows = [(*key, cell) for key, cell in self._cells.items()]
        return {
            "version": VERSION,
            "measures": MEASURES,
            "time": (self._watermarks.final, self._watermarks.least),
            "cells": _pack(rows),
        }

    def __len__(self) -> int:
        return len(self._cells)

    @property
    def has_unsent(self) -> bool:
        """Whether a window has changed since `take`."""
        return bool(self._unsent)

    def add(self, changes: Iterable[Change]) -> None:
        """Add changes, in any order."""
        cells, unsent, lengths, oldest = self._cells, self._unsent, self._terms.lengths, self._oldest
        settled = self._settled
        for change in changes:
            zone, time = change[0], change[1]
            if time < oldest:
                self._oldest = oldest = _day(time)
            for length in lengths:
                start = time - time % length
                key = (zone, length, start)
                cell = cells.get(key)
                if cell is None:
                    cells[key] = [*change[2:], 1, int(start + length <= settled), 1]
                    unsent.append(key)
                    continue
                add_to(cell, change)
                cell[_CHANGES] += 1
                if not cell[_UNSENT]:
                    cell[_UNSENT] = 1
                    unsent.append(key)

    def advance(self, time: WatermarkUpdate) -> None:
        """Advance the watermarks, make windows final and drop old ones."""
        self._watermarks = WatermarkUpdate(*map(max, self._watermarks, time))
        self._finish(self._settled)
        self._drop()

    def close(self) -> None:
        """Make all windows final at the end of a bounded log."""
        self._finish(NEVER)

    def _finish(self, settled: int) -> None:
        """Make all windows final that end by this time."""
        for key, cell in self._cells.items():
            if not cell[_FINAL] and key[1] + key[2] <= settled:
                cell[_FINAL] = 1
                if not cell[_UNSENT]:
                    cell[_UNSENT] = 1
                    self._unsent.append(key)

    def take(self) -> list[Window]:
        """Take the windows that have changed since the last call."""
        taken = []
        for key in self._unsent:
            cell = self._cells[key]
            cell[_UNSENT] = 0
            *measures, changes, final, _ = cell
            taken.append(Window(*key, measures, changes, bool(final)))
        self._unsent.clear()
        self._drop()
        return taken

    def _drop(self) -> None:
        """Drop whole days of windows that nothing can change any more, as the clock does, unless a window is unsent."""
        if self._watermarks.least > self._oldest + _DAY + self._terms.horizon and not self._unsent:
            kept = self._watermarks.least - self._terms.horizon - _DAY
            self._cells = {key: cell for key, cell in self._cells.items() if _day(key[2]) >= kept}
            self._oldest = min((_day(key[2]) for key in self._cells), default=NEVER)

    @property
    def _settled(self) -> int:
        """Windows that end by this time (ms) are final."""
        return self._watermarks.final - self._terms.grace


class WindowClock:
    """Combines the progress of partitions, and decides which window shards to update."""

    def __init__(self, terms: Terms, snapshot: ClockSnapshot | None = None) -> None:
        """Start without progress, or from a snapshot. Raises RecoveryError if a newer release wrote it."""
        self._terms = terms
        self._step = gcd(*terms.lengths)
        self._progress: dict[str, tuple[int, bool]] = {}
        """By partition: its watermark, and whether it is idle."""
        self._final = NO_WATERMARK
        self._updated: dict[ShardDay, int] = {}
        """By day, the last `final` that its shard received."""
        self._last: list[PartitionProgress] = []
        """Progress that applies when all records of a bounded run have arrived."""
        if snapshot is not None:
            refuse_newer("windows", snapshot["version"], VERSION)
            self._progress, self._final = dict(snapshot["progress"]), snapshot["final"]
            self._updated = {ShardDay(*day): final for day, final in snapshot["updated"].items()}

    def snapshot(self) -> ClockSnapshot:
        """The progress of partitions and the days, as plain values."""
        updated = {(day.shard, day.start): final for day, final in self._updated.items()}
        return {"version": VERSION, "progress": dict(self._progress), "final": self._final, "updated": updated}

    def receive(self, progress: PartitionProgress) -> None:
        """Note the progress of a partition."""
        if progress.last:
            self._last.append(progress)
        else:
            self._progress[progress.partition] = progress.watermark, progress.idle

    def end(self) -> None:
        """Apply the progress marked `last`: all records of a bounded run have arrived."""
        self._progress |= {each.partition: (each.watermark, each.idle) for each in self._last}

    def register(self, day: ShardDay) -> None:
        """From now on update the shard of this day, until its windows are dropped."""
        self._updated.setdefault(day, NO_WATERMARK)

    def now(self) -> WatermarkUpdate:
        """The combined watermarks.

        An idle partition holds back only the dropping of windows. If all are idle, `final` is the highest watermark.
        """
        if not self._progress:
            return WatermarkUpdate(NO_WATERMARK, NO_WATERMARK)
        times = [time for time, _ in self._progress.values()]
        busy = [time for time, idle in self._progress.values() if not idle]
        self._final = max(self._final, min(busy) if busy else max(times))
        return WatermarkUpdate(self._final, min(times))

    def updates(self) -> dict[str, WatermarkUpdate]:
        """The updates due, by shard: those whose windows may now become final or be dropped."""
        time = self.now()
        due, dropped = set(), []
        for day, final in self._updated.items():
            if day.start + _DAY + self._terms.horizon < time.least:
                dropped.append(day)
                due.add(day.shard)
            elif self._steps(day, final) != self._steps(day, time.final):
                self._updated[day] = time.final
                due.add(day.shard)
        for day in dropped:
            del self._updated[day]
        return dict.fromkeys(sorted(due), time)

    def _steps(self, day: ShardDay, final: int) -> int:
        """The number of steps of this day whose windows are final."""
        passed = final - self._terms.grace - day.start
        return max(0, min(passed, _DAY)) // self._step


def _day(time: int) -> int:
    return time - time % _DAY


def _require_measures(names: Sequence[str]) -> None:
    """Refuse windows with other measures: the snapshot lacks the sums of a new measure over earlier trips."""
    if (*names,) != MEASURES:
        raise RecoveryError(
            f"the recovery store holds windows with the measures {', '.join(names)}, this release sums"
            f" {', '.join(MEASURES)}: delete it with `chillflow-stream reset` to count all trips again"
        )


def to_time(milliseconds: int) -> datetime:
    """The time at this many ms since 1970, exactly."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[tuple[int, int, int, list[int]]]).decode
