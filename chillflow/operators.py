"""Bytewax operators: a stateful_map in event time over key groups.

`from chillflow import operators as cf_op`, beside Bytewax's `op`. Bytewax's own `stateful_map` has no timers but
the wall clock's, and leaves a row in the recovery store for every key ever used. Here many keys share one
Bytewax key, their *group*: the work is in `keygroup`, this module only hands it to Bytewax.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from chillflow.keygroup import Dead, Decided, Keyed, KeyGroup, Progress, Record

__all__ = ["GroupBatch", "KeyGroupsOut", "partition_of", "stateful_map"]

GroupBatch: TypeAlias = tuple[str, list[Record] | Progress]
"""What a source of ours emits: the group, and records of it or the progress of its partition. Groups are named
`<partition>/<number>`. Bytewax pickles each item between processes: one list costs less than its records."""

K = TypeVar("K", bound=Keyed[Any, Any])


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


class _Group(StatefulBatchLogic[Any, Decided, Any]):
    def __init__(self, keyed: Keyed[Any, Any], close: Any, snapshot: Any) -> None:
        self._group = KeyGroup(keyed, snapshot)
        self._close = close

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Decided], bool]:
        return [self._group.process(values)], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[Decided], bool]:
        # Bytewax says EOF whenever a bounded run ends; that the log has ended for good only the user knows.
        return [self._group.close(self._close)] if self._close else [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        return self._group.snapshot()


@operator
def stateful_map(
    step_id: str,
    up: KeyedStream[list[Record] | Progress],
    keyed: Keyed[Any, Any],
    close: Any = None,
) -> KeyGroupsOut:
    """Map records with a state per key and deadlines in stream time.

    :arg up: Records by group, see `GroupBatch`.
    :arg keyed: What is done with the keys: mapper, expire, decode, dump and load.
    :arg close: At the end of a bounded run each state is ended by `close(state) -> (state, outcome)`;
        without it states stay as they are in the recovery store.
    """
    decided = op.stateful_batch("groups", up, lambda snapshot: _Group(keyed, close, snapshot))

    def pick(name: str) -> KeyedStream[Any]:
        def some(item: tuple[str, Decided]) -> Iterator[tuple[str, Any]]:
            group, outcome = item
            values = getattr(outcome, name)
            if values:
                yield partition_of(group), values

        return cast("KeyedStream[Any]", op.flat_map(name, decided, some))

    return KeyGroupsOut(pick("results"), pick("late"), pick("dead"), pick("tally"))
