"""Bytewax operators: a `stateful_map` in event time over key groups, and what turns any stream into its input.

Bytewax's own `stateful_map` knows wall-clock timers only and keeps a row in the recovery store for every key it has
ever seen. Here many keys share one Bytewax key, their group. The logic is in `group`; this module adapts it to Bytewax.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar, cast

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from chillflow.keyed.batches import GroupRecords, Record
from chillflow.keyed.compression import compress, decompress
from chillflow.keyed.group import KeyedLogic, KeyGroup, Stretch
from chillflow.keyed.outcomes import DeadRecord, Decided, Outcome
from chillflow.keyed.placement import group_of, partition_of
from chillflow.keyed.timed import Timed, joined, oldest
from chillflow.keyed.watermark import WatermarkTracker

__all__ = ["KeyGroupsOut", "key_groups", "stateful_map"]

_MOST = 500
"""Results in one list at most: between processes an item should stay well below 1 MiB."""

X = TypeVar("X")


@dataclass(frozen=True)
class KeyGroupsOut:
    """The streams out of `stateful_map`; all are keyed by partition."""

    results: KeyedStream[list[Any]]
    """What the mapper and the deadlines sent on, in the order of the log per key."""
    late: KeyedStream[list[Record]]
    """Records whose outcome was late, as they were read."""
    dead: KeyedStream[list[DeadRecord]]
    """Records that could not be decoded, as they were read, with the reason."""
    tally: KeyedStream[dict[str, int]]
    """Changes of the account."""


def _added(tallies: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for tally in tallies:
        total.update(tally)  # a sum of Counters would leave out what is negative
    return total


class _Group(StatefulBatchLogic[Any, Decided, Any]):
    def __init__(
        self, keyed: KeyedLogic[Any, Any], close: Any, on_snapshot: Callable[[int], None], snapshot: Any
    ) -> None:
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

    All items go through one worker, in their order, which gives them their watermarks: the stream time of a
    partition is one number. The sources of this package read many partitions instead.

    :arg key: The key of an item, whose state it is mapped with.
    :arg event_time: When it happened, in ms.
    :arg rank: Stream time is the event time that so many items have reached.
    """

    def watermark(state: Any, item: X) -> tuple[Any, tuple[str, GroupRecords]]:
        number, largest = state or (0, [])
        time = WatermarkTracker(rank, largest)
        name = key(item)
        record = Record(time.observe(event_time(item)), number, name, cast("bytes", item), None)
        return (number + 1, time.snapshot()), (f"0000/{group_of(name, groups):04d}", [record])

    with_watermarks = op.stateful_map("stamp", op.key_on("key", up, lambda item: "0000"), watermark)
    return op.key_rm("group", with_watermarks)


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
    :arg mapper: `(state or None, event, watermark) -> (state or None, outcome or None)`, pure. A state is any object
        with a `deadline` (stream time in ms, or None); None forgets the key.
    :arg expire: The same of a state alone, when a watermark has passed its deadline.
    :arg decode: `(key, value) -> event`; a ValueError makes the record a dead letter with that reason.
    :arg dump: A state as bytes, for the recovery store. Its deadline is kept beside it.
    :arg load: The state that `dump` made the bytes of.
    :arg forgets: Of a state dumped to these bytes, whether `expire` would leave nothing at all: then it is not loaded.
    :arg close: At the end of a bounded run each state is ended by `close(state) -> (state, outcome)`;
        without it states stay as they are in the recovery store.
    :arg on_snapshot: Called with the size of each snapshot of a group, in bytes before it is pickled.
    """
    keyed = KeyedLogic(mapper, expire, decode, dump, load, forgets, shortcut, decode_all)
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
