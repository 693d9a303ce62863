"""The one sink step for topics: a writer for each partition number, checked at each snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from chillflow.connectors.log import Log, Writer
from chillflow.connectors.source import partition_name
from chillflow.messages import Message

__all__ = ["LogSink"]


@dataclass(frozen=True)
class LogSink(FixedPartitionedSink[Sequence[Message], None]):
    """Writes lists of messages, keyed by the partition they go to.

    With `partitions` of None there is one writer, and each message goes to the partition of its key.
    """

    log: Log
    name: str
    """Of the command that writes: client id, and on files the owner of a partition."""
    partitions: int | None = None
    delivered: Callable[[Mapping[str, int]], None] = lambda counts: None
    """Called after each flush with how many messages it made stand, by topic."""

    def list_parts(self) -> list[str]:
        return [partition_name(number) for number in range(self.partitions or 1)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key) if self.partitions else 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:
        number = int(for_part) if self.partitions else None
        return _Partition(self.log.writer(self.name, partition=number), number, self.delivered)


class _Partition(StatefulSinkPartition[Sequence[Message], None]):
    def __init__(self, writer: Writer, number: int | None, delivered: Callable[[Mapping[str, int]], None]) -> None:
        self._writer = writer
        self._number = number
        self._delivered = delivered
        self._counts: Counter[str] = Counter()

    def write_batch(self, values: list[Sequence[Message]]) -> None:
        for messages in values:
            for message in messages:
                self._writer.send(message, self._number)
                self._counts[message.topic] += 1

    def snapshot(self) -> None:
        # the recovery store must never be ahead of the output
        self._writer.flush()
        self._delivered(self._counts)
        self._counts.clear()

    def close(self) -> None:
        self._writer.close()
