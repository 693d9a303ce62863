"""Bytewax operators: `stateful_map` in event time over key groups, and `key_groups`, which makes its input.

Bytewax's own `stateful_map` has wall-clock timers only, and keeps a row in the recovery store for every key it has ever
seen. Here many keys share one Bytewax key, their group. The logic is in `group`.
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
from chillflow.keyed.outcomes import BatchOutcome, DeadRecord, Transition
from chillflow.keyed.placement import group_of, partition_of
from chillflow.keyed.timed import Timed, earliest_read, rebatched
from chillflow.keyed.watermark import WatermarkTracker

__all__ = ["KeyGroupsOut", "key_groups", "stateful_map"]

_LONGEST_LIST = 500
"""Items in a list at most, so that it stays well below 1 MiB between processes."""

X = TypeVar("X")
V = TypeVar("V")
S = TypeVar("S", bound=State)
E = TypeVar("E")
R = TypeVar("R")


@dataclass(frozen=True)
class KeyGroupsOut(Generic[R]):
    """The streams out of `stateful_map`, all keyed by partition."""

    results: KeyedStream[list[R]]
    """Results of `mapper`, `expire` and `close`, in the order of the log per key."""
    late: KeyedStream[list[Record]]
    """Records whose outcome was late, unchanged."""
    dead: KeyedStream[list[DeadRecord]]
    """Records that could not be decoded, unchanged, with the reason."""
    tally: KeyedStream[dict[str, int]]
    """Changes of the account."""


class _Group(StatefulBatchLogic[GroupRecords, BatchOutcome[R], GroupSnapshot], Generic[S, E, R]):
    def __init__(
        self,
        keyed: KeyedLogic[S, E, R],
        close: Callable[[S], Transition[S, R]] | None,
        on_snapshot: Callable[[int], None],
        snapshot: GroupSnapshot | None,
    ) -> None:
        self._group = KeyGroup(keyed, snapshot, compress, decompress)
        self._close = close
        self._on_snapshot = on_snapshot

    def on_batch(self, values: list[GroupRecords]) -> tuple[Iterable[BatchOutcome[R]], bool]:
        out = self._group.process(values)
        if out.results and (read_at := earliest_read(values)) is not None:
            out.results = Timed(out.results, read_at)
        return [out], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[BatchOutcome[R]], bool]:
        # Bytewax calls this at the end of any bounded run; only the caller knows whether the log has ended for good.
        return [self._group.close(self._close)] if self._close else [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> GroupSnapshot:
        state = self._group.snapshot()
        pieces = chain(state["open"], *(pieces for pieces, _ in state["closed"].values()))
        self._on_snapshot(sum(len(compressed) for _, _, compressed in pieces))
        return state


_Position: TypeAlias = tuple[int, list[int]]
"""The number of items `key_groups` has seen, and the snapshot of its watermark."""


@operator
def key_groups(
    step_id: str,
    up: Stream[X],
    key: Callable[[X], bytes],
    event_time: Callable[[X], int],
    groups: int = 16,
    rank: int = 20,
) -> KeyedStream[GroupRecords]:
    """Turn any stream into input for `stateful_map`: one partition, with the items as values.

    All items go through one worker, because a partition has one watermark. The source of `assemble` reads many
    partitions instead.

    :arg key: The key of an item.
    :arg event_time: The event time of an item, ms.
    :arg rank: The watermark is the `rank`-th largest event time so far.
    """

    def watermark(state: _Position | None, item: X) -> tuple[_Position, tuple[str, GroupRecords]]:
        number, largest = state or (0, [])
        tracker = WatermarkTracker(rank, largest)
        name = key(item)
        value = cast("bytes", item)  # `decode` gets any value unchanged
        record = Record(tracker.observe(event_time(item)), number, name, value, None)
        return (number + 1, tracker.snapshot()), (f"0000/{group_of(name, groups):04d}", [record])

    with_watermarks = op.stateful_map("stamp", op.key_on("key", up, lambda item: "0000"), watermark)
    return op.key_rm("group", with_watermarks)


@operator
def stateful_map(  # noqa: PLR0913 - all but four are keywords
    step_id: str,
    up: KeyedStream[GroupRecords],
    mapper: Callable[[S | None, E, int], Transition[S, R]],
    expire: Callable[[S], Transition[S, R]],
    *,
    decode: Callable[[bytes, bytes | None], E],
    dump: Callable[[S], bytes],
    load: Callable[[bytes], S],
    is_closed: Callable[[bytes], bool] = lambda data: False,
    shortcut: Callable[[Stretch[S, E, R], int], int] | None = None,
    decode_all: Callable[[Sequence[bytes | None]], Sequence[E | None]] | None = None,
    schema: bytes = b"",
    adapt: Callable[[bytes, bytes], bytes] = lambda data, schema: data,
    close: Callable[[S], Transition[S, R]] | None = None,
    on_snapshot: Callable[[int], None] = lambda size: None,
) -> KeyGroupsOut[R]:
    """Map records with a state per key that may have a deadline in event time.

    :arg up: Records by group (`GroupBatch`), from `key_groups` or the source of `assemble`.
    :arg mapper: `(state or None, event, watermark) -> (state or None, outcome or None)`, pure. A state is any object
        with a `deadline` (event time in ms, or None); None drops the state of the key.
    :arg expire: `state -> (state or None, outcome or None)`, called when the watermark has passed the deadline.
    :arg decode: `(key, value) -> event`; a ValueError makes the record a dead letter with that reason.
    :arg dump: `state -> bytes`, for the recovery store. The deadline is stored separately.
    :arg load: `bytes -> state`; the deadline is set afterwards.
    :arg is_closed: Whether `expire` and `close` would produce nothing for a state dumped to these bytes: at its
        deadline it is then dropped without being loaded.
    :arg shortcut: `(Stretch, start) -> index`: maps records from `start` on as `decode` and `mapper` would, but faster,
        and returns the index of the first that it cannot map. Needs `decode_all`.
    :arg decode_all: `values -> events` for `shortcut`, None for a value that it cannot take.
    :arg schema: Describes what `dump` writes, such as field names; stored once for many states.
    :arg adapt: `(bytes, their schema) -> bytes` under the current schema, called on resume for states dumped under
        another one, so that a new field needs no new recovery store.
    :arg close: `state -> (state or None, outcome or None)`, called for each state at the end of a bounded run. Without
        it states stay in the recovery store.
    :arg on_snapshot: Called with the size of each snapshot of a group, in bytes before it is pickled.
    """
    keyed = KeyedLogic(mapper, expire, decode, dump, load, is_closed, shortcut, decode_all, schema, adapt)
    out = op.stateful_batch("groups", up, lambda snapshot: _Group(keyed, close, on_snapshot, snapshot))
    return KeyGroupsOut(
        _lists("results", out, lambda each: each.results),
        _lists("late", out, lambda each: each.late),
        _lists("dead", out, lambda each: each.dead),
        op.flat_map_batch("tally", out, _tallies),
    )


def _lists(
    step_id: str, out: KeyedStream[BatchOutcome[R]], field: Callable[[BatchOutcome[R]], list[V]]
) -> KeyedStream[list[V]]:
    """A field of the outcomes by partition, its lists joined, because the next steps have a cost per list."""

    def lists(batch: list[tuple[str, BatchOutcome[R]]]) -> Iterator[tuple[str, list[V]]]:
        for partition, found in _by_partition(batch, field).items():
            yield from ((partition, some) for some in rebatched(found, _LONGEST_LIST))

    return op.flat_map_batch(step_id, out, lists)


def _tallies(batch: list[tuple[str, BatchOutcome[R]]]) -> Iterator[tuple[str, dict[str, int]]]:
    for partition, tallies in _by_partition(batch, lambda each: each.tally).items():
        total: Counter[str] = Counter()
        for tally in tallies:
            total.update(tally)  # a sum of Counters would drop negative counts
        yield partition, total


def _by_partition(
    batch: list[tuple[str, BatchOutcome[R]]], field: Callable[[BatchOutcome[R]], V]
) -> dict[str, list[V]]:
    """The values of a field by partition, empty ones skipped."""
    found: dict[str, list[V]] = {}
    for group, out in batch:
        if value := field(out):
            found.setdefault(partition_of(group), []).append(value)
    return found
