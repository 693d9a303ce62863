"""Bytewax operators: `stateful_map` in event time over key groups, and `key_groups`, which makes its input.

Bytewax's own `stateful_map` has wall-clock timers only, and keeps a row in the recovery store for every key it has ever
seen. Here many keys share one Bytewax key, their group. The logic is in `group`; this module adapts it to Bytewax.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeAlias, TypeVar, cast

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from chillflow.keyed.batches import GroupRecords, Record
from chillflow.keyed.compression import compress, decompress
from chillflow.keyed.group import GroupSnapshot, KeyedLogic, KeyGroup, State, Stretch
from chillflow.keyed.outcomes import DeadRecord, Decided, Outcome
from chillflow.keyed.placement import group_of, partition_of
from chillflow.keyed.timed import Timed, joined, oldest
from chillflow.keyed.watermark import WatermarkTracker

__all__ = ["KeyGroupsOut", "key_groups", "stateful_map"]

_MOST = 500
"""Results in one list at most: between processes an item should stay well below 1 MiB."""

X = TypeVar("X")
V = TypeVar("V")
S = TypeVar("S", bound=State)
E = TypeVar("E")
R = TypeVar("R")


@dataclass(frozen=True)
class KeyGroupsOut(Generic[R]):
    """The streams out of `stateful_map`; all are keyed by partition."""

    results: KeyedStream[list[R]]
    """Results of `mapper`, `expire` and `close`, in the order of the log per key."""
    late: KeyedStream[list[Record]]
    """Records whose outcome was late, unchanged."""
    dead: KeyedStream[list[DeadRecord]]
    """Records that could not be decoded, unchanged, with the reason."""
    tally: KeyedStream[dict[str, int]]
    """Changes of the account."""


class _Group(StatefulBatchLogic[GroupRecords, Decided[R], GroupSnapshot], Generic[S, E, R]):
    def __init__(
        self,
        keyed: KeyedLogic[S, E, R],
        close: Callable[[S], tuple[S | None, Outcome[R] | None]] | None,
        on_snapshot: Callable[[int], None],
        snapshot: GroupSnapshot | None,
    ) -> None:
        self._group = KeyGroup(keyed, snapshot, compress, decompress)
        self._close = close
        self._on_snapshot = on_snapshot

    def on_batch(self, values: list[GroupRecords]) -> tuple[Iterable[Decided[R]], bool]:
        decided = self._group.process(values)
        if decided.results and (read_at := oldest(values)) is not None:
            decided.results = Timed(decided.results, read_at)
        return [decided], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[Decided[R]], bool]:
        # Bytewax calls this whenever a bounded run ends; only the user knows whether the log has ended for good.
        return [self._group.close(self._close)] if self._close else [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> GroupSnapshot:
        state = self._group.snapshot()
        pieces = chain(state["open"], *(pieces for pieces, _ in state["closed"].values()))
        self._on_snapshot(sum(len(compressed) for _, _, compressed in pieces))
        return state


_Position: TypeAlias = tuple[int, list[int]]
"""How many items `key_groups` has seen, and the snapshot of its watermark."""


@operator
def key_groups(
    step_id: str,
    up: Stream[X],
    key: Callable[[X], bytes],
    event_time: Callable[[X], int],
    groups: int = 16,
    rank: int = 20,
) -> KeyedStream[GroupRecords]:
    """Turn any stream into input of `stateful_map`: one partition, with the items as values.

    All items go through one worker, in their order, because a partition has one watermark. The sources of this package
    read many partitions instead.

    :arg key: The key of an item, whose state it is mapped with.
    :arg event_time: When it happened, in ms.
    :arg rank: The watermark is the `rank`-th largest event time so far.
    """

    def watermark(state: _Position | None, item: X) -> tuple[_Position, tuple[str, GroupRecords]]:
        number, largest = state or (0, [])
        tracker = WatermarkTracker(rank, largest)
        name = key(item)
        record = Record(tracker.observe(event_time(item)), number, name, cast("bytes", item), None)
        return (number + 1, tracker.snapshot()), (f"0000/{group_of(name, groups):04d}", [record])

    with_watermarks = op.stateful_map("stamp", op.key_on("key", up, lambda item: "0000"), watermark)
    return op.key_rm("group", with_watermarks)


@operator
def stateful_map(  # noqa: PLR0913 - all but four are keywords
    step_id: str,
    up: KeyedStream[GroupRecords],
    mapper: Callable[[S | None, E, int], tuple[S | None, Outcome[R] | None]],
    expire: Callable[[S], tuple[S | None, Outcome[R] | None]],
    *,
    decode: Callable[[bytes, bytes | None], E],
    dump: Callable[[S], bytes],
    load: Callable[[bytes], S],
    is_closed: Callable[[bytes], bool] = lambda data: False,
    shortcut: Callable[[Stretch[S, E, R], int], int] | None = None,
    decode_all: Callable[[Sequence[bytes | None]], Sequence[E | None]] | None = None,
    schema: bytes = b"",
    adapt: Callable[[bytes, bytes], bytes] = lambda data, schema: data,
    close: Callable[[S], tuple[S | None, Outcome[R] | None]] | None = None,
    on_snapshot: Callable[[int], None] = lambda size: None,
) -> KeyGroupsOut[R]:
    """Map records with a state per key, and deadlines in event time.

    :arg up: Records by group, see `GroupBatch`; from a source of this package, or from `key_groups`.
    :arg mapper: `(state or None, event, watermark) -> (state or None, outcome or None)`, pure. A state is any object
        with a `deadline` (event time in ms, or None); None drops the state of the key.
    :arg expire: `state -> (state or None, outcome or None)`, called when the watermark has passed its deadline.
    :arg decode: `(key, value) -> event`; a ValueError makes the record a dead letter with that reason.
    :arg dump: `state -> bytes`, for the recovery store. The deadline is stored separately.
    :arg load: The inverse of `dump`; the deadline is set afterwards.
    :arg is_closed: Whether `expire` and `close` would produce nothing for a state dumped to these bytes: at its
        deadline it is then dropped without being loaded.
    :arg shortcut: Maps usual records faster than `decode` and `mapper`, see `Stretch`; needs `decode_all`.
    :arg decode_all: `values -> events` for `shortcut`, None for a value that it cannot take.
    :arg schema: Describes what `dump` writes, such as field names; stored once for many states.
    :arg adapt: `(bytes, the schema they were dumped under) -> bytes` under the current schema. Called at a resume for
        states with another schema, so that a new field needs no new recovery store.
    :arg close: `state -> (state or None, outcome or None)`, called for each state at the end of a bounded run; without
        it states stay in the recovery store.
    :arg on_snapshot: Called with the size of each snapshot of a group, in bytes before it is pickled.
    """
    keyed = KeyedLogic(mapper, expire, decode, dump, load, is_closed, shortcut, decode_all, schema, adapt)
    decided = op.stateful_batch("groups", up, lambda snapshot: _Group(keyed, close, on_snapshot, snapshot))
    return KeyGroupsOut(
        _lists("results", decided, lambda each: each.results),
        _lists("late", decided, lambda each: each.late),
        _lists("dead", decided, lambda each: each.dead),
        op.flat_map_batch("tally", decided, _tallies),
    )


def _lists(
    step_id: str, decided: KeyedStream[Decided[R]], field: Callable[[Decided[R]], list[V]]
) -> KeyedStream[list[V]]:
    """A field of the outcomes by partition, groups joined: the steps that follow have a cost per list."""

    def lists(batch: list[tuple[str, Decided[R]]]) -> Iterator[tuple[str, list[V]]]:
        for partition, found in _by_partition(batch, field).items():
            yield from ((partition, some) for some in joined(found, _MOST))

    return op.flat_map_batch(step_id, decided, lists)


def _tallies(batch: list[tuple[str, Decided[R]]]) -> Iterator[tuple[str, dict[str, int]]]:
    for partition, tallies in _by_partition(batch, lambda each: each.tally).items():
        total: Counter[str] = Counter()
        for tally in tallies:
            total.update(tally)  # a sum of Counters would drop negative counts
        yield partition, total


def _by_partition(batch: list[tuple[str, Decided[R]]], field: Callable[[Decided[R]], V]) -> dict[str, list[V]]:
    """The values of a field that are not empty, by partition."""
    found: dict[str, list[V]] = {}
    for group, decided in batch:
        if value := field(decided):
            found.setdefault(partition_of(group), []).append(value)
    return found
