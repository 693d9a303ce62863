"""Bytewax operators: a stateful_map in event time over key groups, and live windows.

`from chillflow import operators as cf_op`, beside Bytewax's `op`. Bytewax's own `stateful_map` has no timers but
the wall clock's, and leaves a row in the recovery store for every key ever used. Here many keys share one
Bytewax key, their *group* or *unit*: the work is in `keygroup` and `windows`, this module only hands it to Bytewax.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, TypeAlias, TypeVar, cast
from zlib import crc32

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from chillflow.analytics import Change
from chillflow.compression import compress, decompress
from chillflow.keygroup import Columns, Dead, Decided, Keyed, KeyGroup, Outcome, Progress, Record, Stretch
from chillflow.streamtime import StreamTime
from chillflow.timed import Timed, joined, oldest
from chillflow.windows import Clock, Day, Reached, Tell, Terms, Unit, Window, spread

__all__ = [
    "CLOCK",
    "ClockBatch",
    "GroupBatch",
    "KeyGroupsOut",
    "WindowsOut",
    "group_of",
    "groups_of",
    "is_progress",
    "key_groups",
    "live_windows",
    "partition_of",
    "stateful_map",
]

GroupRecords: TypeAlias = list[Record] | Columns | Progress
GroupBatch: TypeAlias = tuple[str, GroupRecords]
"""What a source of ours emits: the group, and records of it or the progress of its partition. Groups are named
`<partition>/<number>`. Bytewax pickles each item between processes: one list costs less than its records."""
ClockBatch: TypeAlias = tuple[str, Reached]
"""What it emits besides, under the key CLOCK, for `live_windows`: how far its partition is."""
CLOCK = "clock"
_MOST = 500
"""Results in one list at most: between processes an item is to be well below 1 MiB."""

X = TypeVar("X")


def group_of(key: bytes | None, groups: int) -> int:
    """The key group of a key. The high half of the CRC: partitioners use the low one."""
    return groups_of((key,), groups)[0]


def groups_of(keys: Sequence[bytes | None], groups: int) -> list[int]:
    """The key groups of many keys."""
    return [(crc32(key) >> 16) % groups if key else 0 for key in keys]


def partition_of(group: str) -> str:
    """The partition whose records the group holds."""
    return group.partition("/")[0]


@dataclass(frozen=True)
class KeyGroupsOut:
    """The streams out of `stateful_map`; all are keyed by partition."""

    results: KeyedStream[list[Any]]
    """What the mapper and the deadlines sent on, in the order of the log per key."""
    late: KeyedStream[list[Record]]
    """Records whose outcome was late, as they were read."""
    dead: KeyedStream[list[Dead]]
    """Records that could not be decoded, as they were read, with the reason."""
    tally: KeyedStream[dict[str, int]]
    """Changes of the account."""


def is_progress(item: tuple[str, Any]) -> bool:
    """Whether an item of a source is for `live_windows`: a ClockBatch."""
    return item[0] == CLOCK


def _added(tallies: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for tally in tallies:
        total.update(tally)  # a sum of Counters would leave out what is negative
    return total


class _Group(StatefulBatchLogic[Any, Decided, Any]):
    def __init__(self, keyed: Keyed[Any, Any], close: Any, on_snapshot: Callable[[int], None], snapshot: Any) -> None:
        if snapshot is not None and "compressed" in snapshot:  # of version 3
            snapshot = {"version": snapshot["version"], "states": snapshot["compressed"]}
        self._group = KeyGroup(keyed, snapshot, compress, decompress)
        self._close = close
        self._on_snapshot = on_snapshot

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Decided], bool]:
        decided = self._group.process(values)
        if decided.results and (read_at := oldest(values)) is not None:
            decided.results = Timed(decided.results, read_at)
        return [decided], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[Decided], bool]:
        # Bytewax says EOF whenever a bounded run ends; that the log has ended for good only the user knows.
        return [self._group.close(self._close)] if self._close else [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        state = self._group.snapshot()
        pieces = chain(state["states"], *(pieces for pieces, _ in state["remembered"].values()))
        self._on_snapshot(sum(len(data) for _, data in pieces))
        return state


@operator
def key_groups(
    step_id: str,
    up: Stream[X],
    key: Callable[[X], bytes],
    event_time: Callable[[X], int],
    groups: int = 16,
    rank: int = 20,
) -> KeyedStream[GroupRecords]:
    """Make any stream one that `stateful_map` takes: a partition of its own, with the items as values.

    All items go through one worker, in their order, which gives them their stamps: the stream time of a
    partition is one number. The sources of this package read many partitions instead.

    :arg key: The key of an item, whose state it is mapped with.
    :arg event_time: When it happened, in ms.
    :arg rank: Stream time is the event time that so many items have reached.
    """

    def stamp(state: Any, item: X) -> tuple[Any, tuple[str, GroupRecords]]:
        number, largest = state or (0, [])
        time = StreamTime(rank, largest)
        name = key(item)
        record = Record(time.observe(event_time(item)), number, name, cast("bytes", item), None)
        return (number + 1, time.snapshot()), (f"0000/{group_of(name, groups):04d}", [record])

    stamped = op.stateful_map("stamp", op.key_on("key", up, lambda item: "0000"), stamp)
    return op.key_rm("group", stamped)


@operator
def stateful_map(  # noqa: PLR0913 - all but four are keywords
    step_id: str,
    up: KeyedStream[GroupRecords],
    mapper: Callable[[Any, Any, int], tuple[Any, Outcome | None]],
    expire: Callable[[Any], tuple[Any, Outcome | None]],
    *,
    decode: Callable[[bytes, bytes | None], Any],
    dump: Callable[[Any], bytes],
    load: Callable[[bytes], Any],
    forgets: Callable[[bytes], bool] = lambda data: False,
    shortcut: Callable[[Stretch[Any], int], int] | None = None,
    decode_all: Callable[[Sequence[Any]], Sequence[Any]] = lambda values: values,
    close: Callable[[Any], tuple[Any, Outcome | None]] | None = None,
    on_snapshot: Callable[[int], None] = lambda size: None,
) -> KeyGroupsOut:
    """Map records with a state per key and deadlines in stream time.

    :arg up: Records by group, see `GroupBatch`; from a source of this package, or from `key_groups`.
    :arg mapper: `(state or None, event, stamp) -> (state or None, outcome or None)`, pure. A state is any object
        with a `deadline` (stream time in ms, or None); None forgets the key.
    :arg expire: The same of a state alone, when a stamp has passed its deadline.
    :arg decode: `(key, value) -> event`; a ValueError makes the record a dead letter with that reason.
    :arg dump: A state as bytes, for the recovery store. Its deadline is kept beside it.
    :arg load: The state that `dump` made the bytes of.
    :arg forgets: Of a state dumped to these bytes, whether `expire` would leave nothing at all: then it is not loaded.
    :arg close: At the end of a bounded run each state is ended by `close(state) -> (state, outcome)`;
        without it states stay as they are in the recovery store.
    :arg on_snapshot: Called with the size of each snapshot of a group, in bytes before it is pickled.
    """
    keyed = Keyed(mapper, expire, decode, dump, load, forgets, shortcut, decode_all)
    decided = op.stateful_batch("groups", up, lambda snapshot: _Group(keyed, close, on_snapshot, snapshot))

    def collect(name: str) -> KeyedStream[Any]:
        """What all groups of a partition have come to, as far as it is there: what follows is paid for by the list."""

        def by_partition(batch: list[tuple[str, Decided]]) -> Iterator[tuple[str, Any]]:
            found: dict[str, list[Any]] = {}
            for group, outcome in batch:
                if values := getattr(outcome, name):
                    found.setdefault(partition_of(group), []).append(values)
            for partition, lists in found.items():
                if name == "tally":
                    yield partition, _added(lists)
                else:
                    yield from ((partition, some) for some in joined(lists, _MOST))

        return cast("KeyedStream[Any]", op.flat_map_batch(name, decided, by_partition))

    return KeyGroupsOut(collect("results"), collect("late"), collect("dead"), collect("tally"))


@dataclass(frozen=True)
class WindowsOut:
    """The streams out of `live_windows`."""

    windows: KeyedStream[list[Window]]
    """Windows that have changed, keyed by their unit."""
    passed: Stream[int]
    """Stream times that all partitions have passed, ms, at most one for each hour of it."""


_LIVE = timedelta(seconds=1)
"""How often a window is sent on while it changes."""


class _Unit(StatefulBatchLogic[Any, list[Window], Any]):
    def __init__(self, terms: Terms, close: bool, on_snapshot: Callable[[int], None], snapshot: Any) -> None:
        self._unit = Unit(terms, snapshot)
        self._close = close
        self._on_snapshot = on_snapshot
        self._sent = datetime(1970, 1, 1, tzinfo=UTC)

    def on_batch(self, values: list[Any]) -> tuple[Iterable[list[Window]], bool]:
        for value in values:
            if isinstance(value, Tell):
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


class _Clock(StatefulBatchLogic[Any, tuple[str, Any], Any]):
    def __init__(self, terms: Terms, snapshot: Any) -> None:
        self._clock = Clock(terms, snapshot)
        self._hour = 0

    def on_batch(self, values: list[Reached | list[Day]]) -> tuple[Iterable[tuple[str, Any]], bool]:
        for value in values:
            if isinstance(value, Reached):
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
    progress: KeyedStream[Reached],
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
    ticks = op.stateful_batch("clock", heard, lambda snapshot: _Clock(terms, snapshot))
    told = op.branch("tell_or_pass", op.map("drop_key", ticks, lambda item: item[1]), is_progress)
    units = op.merge("add_and_tell", placed.falses, told.falses)
    windows = op.stateful_batch("units", units, lambda snapshot: _Unit(terms, close, on_snapshot, snapshot))
    return WindowsOut(windows, op.map("take_time", told.trues, lambda item: cast("int", item[1])))
