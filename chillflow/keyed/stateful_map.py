"""Bytewax operators: `stateful_map` in event time over key groups, and `key_groups`, which makes its input.

Bytewax's own `stateful_map` has wall-clock timers only, and keeps a row in the recovery store for every key it has ever
seen. Here many keys share one Bytewax key, their group. The logic is in `group`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypedDict, TypeVar, cast

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from chillflow.keyed.batches import Batch, GroupBatch, GroupItem, Record, RecordColumns, Undecodable
from chillflow.keyed.compression import compress, decompress
from chillflow.keyed.group import GroupSnapshot, KeyedLogic, KeyGroup
from chillflow.keyed.outcomes import BatchOutcome, DeadRecord, Transition
from chillflow.keyed.packing import PieceFormat
from chillflow.keyed.placement import groups_of, partition_of
from chillflow.keyed.slots import Slots
from chillflow.keyed.state_store import State, StateFormat
from chillflow.keyed.timed import Timed, earliest_read, rebatched
from chillflow.keyed.watermark import WatermarkSnapshot, WatermarkTracker

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


class _Group(StatefulBatchLogic[GroupItem[E], BatchOutcome[R], GroupSnapshot], Generic[S, E, R]):
    def __init__(
        self,
        keyed: KeyedLogic[S, E, R],
        close: Callable[[S], Transition[S, R]] | None,
        on_snapshot: Callable[[int], None],
        snapshot: GroupSnapshot | None,
    ) -> None:
        self._group = KeyGroup(keyed, snapshot)
        self._close = close
        self._on_snapshot = on_snapshot

    def on_batch(self, values: list[GroupItem[E]]) -> tuple[Iterable[BatchOutcome[R]], bool]:
        out = self._group.process(values)
        if out.results and (read_at := earliest_read(values)) is not None:
            out.results = Timed(out.results, read_at)
        return [out], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[BatchOutcome[R]], bool]:
        # Bytewax calls this at the end of any bounded run; only the caller knows whether the log has ended for good.
        return [self._group.close(self._close)] if self._close else [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> GroupSnapshot:
        snapshot = self._group.snapshot()
        states = snapshot["states"]
        pieces = chain([states["live"]], *(pieces for pieces, _ in states["packed"].values()))
        self._on_snapshot(sum(len(compressed) for _, _, compressed in pieces))
        return snapshot


class _Position(TypedDict):
    """What `key_groups` resumes from."""

    count: int
    """The number of items so far, which are the offsets."""
    watermark: WatermarkSnapshot


class _Watermarks(StatefulBatchLogic[X, GroupBatch[E], _Position], Generic[X, E]):
    """Items in, batches by key group out."""

    def __init__(
        self,
        key: Callable[[E], bytes],
        event_time: Callable[[E], int],
        decode: Callable[[X], E],
        groups: int,
        rank: int,
        position: _Position | None,
    ) -> None:
        self._key, self._event_time, self._decode, self._groups = key, event_time, decode, groups
        self._count = position["count"] if position else 0
        self._watermark = WatermarkTracker(rank, position["watermark"] if position else None)

    def on_batch(self, values: list[X]) -> tuple[Iterable[GroupBatch[E]], bool]:
        events = [*map(self._decoded, values)]
        keys = [None if isinstance(event, Undecodable) else self._key(event) for event in events]
        times = [None if isinstance(event, Undecodable) else self._event_time(event) for event in events]
        offsets = range(self._count, self._count + len(values))
        self._count += len(values)
        items = cast("list[bytes | None]", values)  # the outputs `late` and `dead` get them unchanged
        batch = Batch(
            RecordColumns(offsets, times, keys, items, [None] * len(values)),
            events,
            self._watermark.observe_all(times, keys),
        )
        split = batch.split(groups_of(keys, self._groups))
        return [(f"0000/{number:04d}", some) for number, some in split.items()], StatefulBatchLogic.RETAIN

    def snapshot(self) -> _Position:
        return {"count": self._count, "watermark": self._watermark.snapshot()}

    def _decoded(self, value: X) -> E | Undecodable:
        try:
            return self._decode(value)
        except ValueError as error:
            return Undecodable(str(error))


def _unchanged(item: Any) -> Any:
    return item


@operator
def key_groups(
    step_id: str,
    up: Stream[X],
    key: Callable[[E], bytes],
    event_time: Callable[[E], int],
    *,
    decode: Callable[[X], E] = _unchanged,
    groups: int = 16,
    rank: int = 20,
) -> KeyedStream[GroupItem[E]]:
    """Turn any stream into input for `stateful_map`: one partition, with the items as values.

    All items go through one worker, because a partition has one watermark. The source of `assemble` reads many
    partitions instead.

    :arg key: The key of an event.
    :arg event_time: The event time of an event, ms.
    :arg decode: `item -> event`; a ValueError makes the item a dead letter with that reason. It moves no watermark.
    :arg rank: The watermark is the `rank`-th largest event time so far, of those that are not too far ahead: see
        `WatermarkTracker`, also for streams of few keys.
    """

    def logic(position: _Position | None) -> _Watermarks[X, E]:
        return _Watermarks(key, event_time, decode, groups, rank, position)

    return op.key_rm("group", op.stateful_batch("watermarks", op.key_on("key", up, lambda item: "0000"), logic))


@operator
def stateful_map(  # noqa: PLR0913 - all but four are keywords
    step_id: str,
    up: KeyedStream[GroupItem[E]],
    mapper: Callable[[S | None, E, int], Transition[S, R]],
    expire: Callable[[S], Transition[S, R]],
    *,
    dump: Callable[[S], bytes],
    load: Callable[[bytes], S],
    is_closed: Callable[[bytes], bool] = lambda data: False,
    slots: Slots[S, E, R] | None = None,
    schema: bytes = b"",
    adapt: Callable[[bytes, bytes], bytes] = lambda data, schema: data,
    close: Callable[[S], Transition[S, R]] | None = None,
    on_snapshot: Callable[[int], None] = lambda size: None,
) -> KeyGroupsOut[R]:
    """Map events with a state per key that may have a deadline in event time.

    :arg up: Events by group (`GroupBatch`), from `key_groups` or the source of `assemble`.
    :arg mapper: `(state or None, event, watermark) -> (state or None, outcome or None)`, pure. A state is any object
        with a `deadline` (event time in ms, or None); None drops the state of the key.
    :arg expire: `state -> (state or None, outcome or None)`, called when the watermark has passed the deadline.
    :arg dump: `state -> bytes`, for the recovery store. The deadline is stored separately.
    :arg load: `bytes -> state`; the deadline is set afterwards.
    :arg is_closed: Whether `expire` and `close` would produce nothing for a state dumped to these bytes: at its
        deadline it is then dropped without being loaded.
    :arg slots: For keys that are assembled from one event of each of several types: what the group does itself, several
        times faster, and the same as `mapper` would.
    :arg schema: Describes what `dump` writes, such as field names; stored once for many states.
    :arg adapt: `(bytes, their schema) -> bytes` under the current schema, called on resume for states dumped under
        another one, so that a new field needs no new recovery store.
    :arg close: `state -> (state or None, outcome or None)`, called for each state at the end of a bounded run. Without
        it states stay in the recovery store.
    :arg on_snapshot: Called with the size of each snapshot of a group, in bytes before it is pickled.
    """
    states = StateFormat(dump, load, is_closed, PieceFormat(schema, adapt, compress, decompress))
    keyed = KeyedLogic(mapper, expire, states, slots)
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
