"""Live windows: the figures of zones in tumbling windows of drop-off time, exact whatever comes late. Pure.

Nothing is dropped and nothing waits: a window's figures are sent on while it is open, once more as final when stream
time has passed its end by `grace`, and again when a late trip changes it. It is forgotten when no partition can
change it any more (see `Assembly`: what comes later than that is left out of the windows).

A snapshot must cost what has changed, not what is held. So windows are kept in *units*, the days of a share of the
zones, of which Bytewax writes only those that an epoch has touched. Their names repeat after a while, because
Bytewax never forgets a key.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple

import msgspec

from chillflow.errors import RecoveryError
from chillflow.keyed.batches import PartitionProgress
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.model.measures import MEASURES, Change

__all__ = [
    "ShardDay",
    "Terms",
    "WatermarkUpdate",
    "Window",
    "WindowClock",
    "WindowShard",
    "group_of_unit",
    "spread",
    "to_time",
]

VERSION = 1
_DAY = 86_400_000
_SLOTS = 64
"""Days whose units have names of their own. Two days that share a name are kept together: right, only bigger."""
_ZONE_GROUPS = 16
_NEVER = 2**62
_CHANGES, _FINAL = len(MEASURES), len(MEASURES) + 1


class WatermarkUpdate(NamedTuple):
    """How far all partitions have come: what units hear."""

    final: int
    """Windows that ended `grace` before this are final, ms."""
    least: int
    """No partition is behind this, ms."""


class ShardDay(NamedTuple):
    """A day of a unit, which the clock is to tell of the time."""

    unit: str
    start: int


class Window(NamedTuple):
    """What a window holds."""

    zone_id: int
    length: int
    """ms"""
    start: int
    """ms since 1970"""
    figures: Sequence[int]
    """In the order of MEASURES, money in cents."""
    changes: int
    final: bool


class Terms(NamedTuple):
    """What windows there are, in ms."""

    lengths: tuple[int, ...]
    """Each divides a day."""
    grace: int
    horizon: int
    """A window can change until each partition has passed its end by so much."""

    @classmethod
    def of(cls, lengths: Iterable[timedelta], grace: timedelta, longest_trip: timedelta) -> Terms:
        """The terms under which no trip of this length at most is left out."""
        millisecond = timedelta(milliseconds=1)
        sizes = tuple(length // millisecond for length in lengths)
        return cls(sizes, grace // millisecond, longest_trip // millisecond + max(sizes))


def spread(changes: Iterable[Change]) -> dict[ShardDay, list[Change]]:
    """The changes by the day of the unit that keeps their windows."""
    found: defaultdict[int, list[Change]] = defaultdict(list)
    for change in changes:
        found[change[1] // _DAY * _ZONE_GROUPS + change[0] % _ZONE_GROUPS].append(change)
    return {_day_of(place): some for place, some in found.items()}


@lru_cache(4096)
def _day_of(place: int) -> ShardDay:
    day, share = divmod(place, _ZONE_GROUPS)
    return ShardDay(f"{day % _SLOTS:02d}/{share:02d}", day * _DAY)


def group_of_unit(unit: str) -> int:
    """The share of the zones that is kept there."""
    return int(unit.partition("/")[2])


class WindowShard:
    """The windows of some days of a share of the zones."""

    def __init__(self, terms: Terms, snapshot: Any = None) -> None:
        self._terms = terms
        self._time = WatermarkUpdate(NO_WATERMARK, NO_WATERMARK)
        self._cells: dict[tuple[int, int, int], list[int]] = {}
        """By zone, length and start: the figures, the number of changes, whether final."""
        self._unsent: dict[tuple[int, int, int], None] = {}
        """In the order of their changes."""
        self._oldest = _NEVER
        """The first day there is."""
        if snapshot is not None:
            _check(snapshot)
            self._time = WatermarkUpdate(*snapshot["time"])
            for zone, length, start, unsent, cell in _unpack(snapshot["cells"]):
                self._cells[zone, length, start] = cell
                self._oldest = min(self._oldest, _day(start))
                if unsent:
                    self._unsent[zone, length, start] = None

    def snapshot(self) -> dict[str, Any]:
        """All windows, as plain and versioned values."""
        rows = [(*key, key in self._unsent, cell) for key, cell in self._cells.items()]
        return {"version": VERSION, "time": tuple(self._time), "cells": _pack(rows)}

    def __len__(self) -> int:
        return len(self._cells)

    @property
    def has_unsent(self) -> bool:
        """Whether something has changed since `take`."""
        return bool(self._unsent)

    def add(self, changes: Iterable[Change]) -> None:
        """Take in changes of any order."""
        cells, unsent, lengths, oldest = self._cells, self._unsent, self._terms.lengths, self._oldest
        settled = self._settled
        for change in changes:
            zone, time, trips, timed, card, cash, total, fare, tip, metres, seconds = change
            if time < oldest:
                self._oldest = oldest = _day(time)
            for length in lengths:
                start = time - time % length
                key = (zone, length, start)
                cell = cells.get(key)
                if cell is None:
                    cells[key] = [*change[2:], 1, int(start + length <= settled)]
                else:  # one by one: half the time of a loop over them
                    cell[0] += trips
                    cell[1] += timed
                    cell[2] += card
                    cell[3] += cash
                    cell[4] += total
                    cell[5] += fare
                    cell[6] += tip
                    cell[7] += metres
                    cell[8] += seconds
                    cell[_CHANGES] += 1
                unsent[key] = None

    def advance(self, time: WatermarkUpdate) -> None:
        """Take in how far time has come: some windows become final, some are forgotten."""
        self._time = WatermarkUpdate(*map(max, self._time, time))
        settled = self._settled
        for key, cell in self._cells.items():
            if not cell[_FINAL] and key[1] + key[2] <= settled:
                cell[_FINAL] = 1
                self._unsent[key] = None
        self._forget()

    def close(self) -> None:
        """Make all windows final: the log has ended for good."""
        for key, cell in self._cells.items():
            if not cell[_FINAL]:
                cell[_FINAL] = 1
                self._unsent[key] = None

    def take(self) -> list[Window]:
        """The windows that have changed since the last time, as they are now."""
        taken = []
        for key in self._unsent:
            *figures, changes, final = self._cells[key]
            taken.append(Window(*key, figures, changes, bool(final)))
        self._unsent.clear()
        self._forget()
        return taken

    def _forget(self) -> None:
        """Forget what nothing can change any more, by whole days, as the clock does; first it must have been sent."""
        if self._time.least > self._oldest + _DAY + self._terms.horizon and not self._unsent:
            kept = self._time.least - self._terms.horizon - _DAY
            self._cells = {key: cell for key, cell in self._cells.items() if _day(key[2]) >= kept}
            self._oldest = min((_day(key[2]) for key in self._cells), default=_NEVER)

    @property
    def _settled(self) -> int:
        """What ends by then is final."""
        return self._time.final - self._terms.grace


class WindowClock:
    """Knows how far each partition is, and tells those units for whom that means something."""

    def __init__(self, terms: Terms, snapshot: Any = None) -> None:
        self._terms = terms
        self._step = gcd(*terms.lengths)
        self._reached: dict[str, tuple[int, bool]] = {}
        self._final = NO_WATERMARK
        self._told: dict[ShardDay, int] = {}
        """By day: the `final` it has been told."""
        self._last: list[PartitionProgress] = []
        """What counts when all has arrived."""
        if snapshot is not None:
            _check(snapshot)
            self._reached, self._final = dict(snapshot["reached"]), snapshot["final"]
            self._told = {ShardDay(*day): told for day, told in snapshot["told"].items()}

    def snapshot(self) -> dict[str, Any]:
        """All of it, as plain and versioned values."""
        told = {tuple(day): told for day, told in self._told.items()}
        return {"version": VERSION, "reached": dict(self._reached), "final": self._final, "told": told}

    def hear(self, reached: PartitionProgress) -> None:
        """Take in how far a partition is."""
        if reached.last:
            self._last.append(reached)
        else:
            self._reached[reached.partition] = reached.time, reached.idle

    def end(self) -> None:
        """All of a bounded run has arrived."""
        self._reached |= {reached.partition: (reached.time, reached.idle) for reached in self._last}

    def register(self, day: ShardDay) -> None:
        """From now on tell this day, until its windows are forgotten."""
        self._told.setdefault(day, NO_WATERMARK)

    def now(self) -> WatermarkUpdate:
        """How far all are. A silent partition holds up the forgetting alone; if all are silent, the first counts."""
        if not self._reached:
            return WatermarkUpdate(NO_WATERMARK, NO_WATERMARK)
        times = [time for time, _ in self._reached.values()]
        busy = [time for time, idle in self._reached.values() if not idle]
        self._final = max(self._final, min(busy) if busy else max(times))
        return WatermarkUpdate(self._final, min(times))

    def tell(self) -> dict[str, WatermarkUpdate]:
        """Which units are to hear the time: those with windows that may become final by it, or be forgotten."""
        time = self.now()
        heard, forgotten = set(), []
        for day, told in self._told.items():
            if day.start + _DAY + self._terms.horizon < time.least:
                forgotten.append(day)
                heard.add(day.unit)
            elif self._steps(day, told) != self._steps(day, time.final):
                self._told[day] = time.final
                heard.add(day.unit)
        for day in forgotten:
            del self._told[day]
        return dict.fromkeys(sorted(heard), time)

    def _steps(self, day: ShardDay, final: int) -> int:
        """How many ends of windows of this day have been passed."""
        passed = final - self._terms.grace - day.start
        return max(0, min(passed, _DAY)) // self._step


def _day(time: int) -> int:
    return time - time % _DAY


def _check(snapshot: Any) -> None:
    if snapshot["version"] > VERSION:
        raise RecoveryError(f"the recovery store is of a newer release (windows {snapshot['version']})")


def to_time(milliseconds: int) -> datetime:
    """The time that is so many ms after the beginning of 1970, exactly."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[tuple[int, int, int, bool, list[int]]]).decode
