"""The one sink step for topics: every result in its topic once, whatever crashes.

A result that was written in an epoch that did not become durable is made again after a restart: the same
result, for it depends on the log alone. So at its start a partition of the sink reads its own output back, from
where it stood at the last durable snapshot, and leaves out what stands there already. In between nothing of
an older instance can slip in: it has been shut out before (`Log.exactly_once_writer`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from chillflow.connectors.log import Log, Writer
from chillflow.connectors.source import partition_name
from chillflow.errors import RecoveryError
from chillflow.messages import Message
from chillflow.topics import TopicSpec, identity

__all__ = ["AtLeastOnceSink", "ExactlyOnceSink"]

VERSION = 1
_LIVE_MESSAGES = 200
_LIVE_SECONDS = 0.15
"""When results come in small numbers someone waits for them: then they are made visible between snapshots too.
A commit takes 3 to 14 ms, so in a replay, where nobody waits, only snapshots commit."""

Snapshot: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class ExactlyOnceSink(FixedPartitionedSink[Sequence[Message], Snapshot]):
    """Writes lists of messages, keyed by the partition they go to, for the topics in `specs`."""

    log: Log
    name: str
    """Of the pipeline: its writers shut out older ones of the same name."""
    partitions: int
    specs: Mapping[str, TopicSpec]

    def list_parts(self) -> list[str]:
        return [partition_name(number) for number in range(self.partitions)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: Snapshot | None) -> _ExactlyOnce:
        return _ExactlyOnce(self, int(for_part), resume_state)


class _ExactlyOnce(StatefulSinkPartition[Sequence[Message], Snapshot]):
    def __init__(self, sink: ExactlyOnceSink, number: int, state: Snapshot | None) -> None:
        if state is not None and state["version"] > VERSION:
            raise RecoveryError(f"the recovery store is of a newer release (sink {state['version']})")
        self._sink = sink
        self._number = number
        self._partitions = {name: number % sink.log.partitions(name) for name in sink.specs}
        """Where the results of this partition number stand in each topic, asked of the broker once."""
        self._writer: Writer = sink.log.exactly_once_writer(sink.name, number)
        self._ends: dict[str, int] = dict(state["ends"]) if state else {}
        self._standing = {name: self._read_back(spec) for name, spec in sink.specs.items() if not spec.is_changelog}
        self._touched: set[str] = set()
        self._pending = 0
        self._flushed = time.monotonic()

    def write_batch(self, values: list[Sequence[Message]]) -> None:
        for messages in values:
            for message in messages:
                spec = self._sink.specs[message.topic]
                if spec.is_changelog:
                    self._writer.send(message)
                    self._pending += 1
                    continue
                self._touched.add(message.topic)
                standing = self._standing[message.topic]
                if standing:
                    which = identity(spec, message)
                    if which in standing:
                        standing.remove(which)
                        continue
                self._writer.send(message, self._number)
                self._pending += 1
        if 0 < self._pending < _LIVE_MESSAGES and time.monotonic() - self._flushed > _LIVE_SECONDS:
            self._flush()

    def snapshot(self) -> Snapshot:
        # the recovery store must never be ahead of the output
        self._flush()
        # This epoch may be a shorter one than that which was lost: what stands of it and has not been made again
        # yet must be found once more after the next crash, so the end moves on only when all has been.
        for topic in [topic for topic in self._touched if not self._standing[topic]]:
            self._ends[topic] = self._sink.log.end_offset(topic, self._partitions[topic])
            self._touched.remove(topic)
        return {"version": VERSION, "ends": dict(self._ends)}

    def close(self) -> None:
        self._writer.close()

    def _flush(self) -> None:
        self._writer.flush()
        self._pending = 0
        self._flushed = time.monotonic()

    def _read_back(self, spec: TopicSpec) -> set[tuple[Any, ...]]:
        """What stands in the topic after the last durable snapshot; without one, all of it."""
        number = self._partitions[spec.name]
        end = self._sink.log.end_offset(spec.name, number)
        start = self._ends.setdefault(spec.name, 0)
        if end <= start:
            return set()
        reader = self._sink.log.reader(spec.name, number, start or None, group=None)
        found = set()
        while reader.position < end:
            records = reader.read(5_000)
            for record in records:
                message = Message(spec.name, record.key, record.value, None, record.headers or ())
                found.add(identity(spec, message))
            if not records:
                if reader.at_end:
                    break
                time.sleep(0.005)
        reader.close()
        if not found:  # only the markers of transactions
            self._ends[spec.name] = end
        return found


@dataclass(frozen=True)
class AtLeastOnceSink(FixedPartitionedSink[Sequence[Message], None]):
    """Writes lists of messages to the partitions of their keys, each at least once."""

    log: Log
    name: str
    """Of the command that writes."""
    delivered: Callable[[Mapping[str, int]], None] = lambda counts: None
    """Called after each flush with how many messages it made stand, by topic."""

    def list_parts(self) -> list[str]:
        return [self.name]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _AtLeastOnce:
        return _AtLeastOnce(self.log.writer(self.name), self.delivered)


class _AtLeastOnce(StatefulSinkPartition[Sequence[Message], None]):
    def __init__(self, writer: Writer, delivered: Callable[[Mapping[str, int]], None]) -> None:
        self._writer = writer
        self._delivered = delivered
        self._counts: Counter[str] = Counter()

    def write_batch(self, values: list[Sequence[Message]]) -> None:
        for messages in values:
            for message in messages:
                self._writer.send(message)
                self._counts[message.topic] += 1

    def snapshot(self) -> None:
        self._writer.flush()
        self._delivered(self._counts)
        self._counts.clear()

    def close(self) -> None:
        self._writer.close()
