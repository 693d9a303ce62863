"""The one sink step for topics: every result in its topic once, whatever crashes.

A result that was written in an epoch that did not become durable is made again after a restart: the same
result, for it depends on the log alone. So at its start a partition of the sink reads its own output back, from
where it stood at the last durable snapshot, and leaves out what stands there already. In between nothing of
an older instance can slip in: it has been shut out before (`Log.exactly_once_writer`).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeAlias

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from chillflow.connectors.background import pause_after
from chillflow.connectors.log import Log, Writer
from chillflow.errors import RecoveryError
from chillflow.keyed.placement import partition_name
from chillflow.keyed.timed import Timed
from chillflow.model.messages import Message, MessageColumns
from chillflow.model.topics import TopicSpec, identity
from chillflow.telemetry import Telemetry
from chillflow.telemetry.failures import keeps_failures

__all__ = ["AtLeastOnceSink", "ExactlyOnceSink"]

VERSION = 1
_LIVE_SECONDS = 0.05
"""How soon after it was written a result is made visible, whether more come or not."""
_LIVE_SHARE, _REPLAY_SHARE = 0.33, 0.01
"""The most of the time that this may take. A commit of a few messages takes 3 to 30 ms; in a replay it first waits for
all that is under way, and nobody waits for that."""
_MANY = 3_000
"""More messages a second are a replay. Counted over a second: the windows of a second come in one go."""

Snapshot: TypeAlias = dict[str, Any]
_topic: Callable[[Message], str] = attrgetter("topic")


@keeps_failures
@dataclass(frozen=True)
class ExactlyOnceSink(FixedPartitionedSink[Sequence[Message], Snapshot]):
    """Writes lists of messages, keyed by the partition they go to, for the topics in `specs`."""

    log: Log
    name: str
    """Of the pipeline: its writers shut out older ones of the same name."""
    partitions: int
    specs: Mapping[str, TopicSpec]
    telemetry: Telemetry = field(default_factory=Telemetry, repr=False, compare=False)
    """Of the run that writes."""
    built: list[_ExactlyOnce] = field(default_factory=list, init=False, repr=False, compare=False)
    """The partitions of this process."""

    def list_parts(self) -> list[str]:
        return [partition_name(number) for number in range(self.partitions)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: Snapshot | None) -> _ExactlyOnce:
        self.built.append(_ExactlyOnce(self, int(for_part), resume_state))
        return self.built[-1]


@keeps_failures
class _ExactlyOnce(StatefulSinkPartition[Sequence[Message], Snapshot]):
    def __init__(self, sink: ExactlyOnceSink, number: int, state: Snapshot | None) -> None:
        if state is not None and state["version"] > VERSION:
            raise RecoveryError(f"the recovery store is of a newer release (sink {state['version']})")
        self._sink = sink
        self.telemetry = sink.telemetry
        self._number = number
        self._partitions = {name: number % sink.log.partitions(name) for name in sink.specs}
        """Where the results of this partition number stand in each topic, asked of the broker once."""
        self._writer: Writer = sink.log.exactly_once_writer(sink.name, number)
        self._ends: dict[str, int] = dict(state["ends"]) if state else {}
        self._standing = {name: self._read_back(spec) for name, spec in sink.specs.items() if not spec.is_changelog}
        self._touched: set[str] = set()
        self._pending = self._written = 0
        self._counts: Counter[str] = Counter()
        """Of the pending messages, by topic."""
        self._letters: list[Message] = []
        """The dead letters among the pending messages."""
        self._letter_topics = {name for name, spec in sink.specs.items() if spec.is_dead_letters}
        self._results: list[tuple[float, int]] = []
        """Of the pending messages, how many go back to something read when."""
        self._lock = threading.Lock()
        """Of the writer and of what is pending: nothing can be sent while a transaction is committed."""
        self._failure: Exception | None = None
        """What went wrong in the thread, until the next call can raise it."""
        self._due = threading.Event()
        self._closed = False
        self._committer = threading.Thread(target=self._commit_between_snapshots, daemon=True)
        self._committer.start()

    def write_batch(self, values: list[Sequence[Message]]) -> None:
        with self._taken():
            for messages in values:
                written = sum(self._write(topic, [*some]) for topic, some in groupby(messages, _topic))
                self._pending += written
                self._written += written
                if written and isinstance(messages, Timed):
                    self._results.append((messages.read_at, written))

    def _write(self, topic: str, messages: list[Message]) -> int:
        """Write messages of one topic, but for those that stand already; how many these are."""
        spec = self._sink.specs[topic]
        if spec.is_changelog:
            self._writer.send_all(messages)
        else:
            self._touched.add(topic)
            if self._standing[topic]:
                messages = [message for message in messages if not self._stands(spec, message)]
                if not messages:
                    return 0
            self._writer.send_all(messages, self._number)
        self._counts[topic] += len(messages)
        if topic in self._letter_topics:
            self._letters += messages
        return len(messages)

    def _stands(self, spec: TopicSpec, message: Message) -> bool:
        """Whether the message was found standing, once for each that was."""
        which, standing = identity(spec, message), self._standing[spec.name]
        if which not in standing:
            return False
        standing.remove(which)
        return True

    def snapshot(self) -> Snapshot:
        for part in self._sink.built:  # snapshots come one after the other: let all commit at the same time
            if part is not self and part._pending:
                part._due.set()
        with self._taken():
            self._flush()  # the recovery store must never be ahead of the output
        # This epoch may be a shorter one than that which was lost: what stands of it and has not been made again
        # yet must be found once more after the next crash, so the end moves on only when all has been.
        for topic in [topic for topic in self._touched if not self._standing[topic]]:
            self._ends[topic] = self._sink.log.end_offset(topic, self._partitions[topic])
            self._touched.remove(topic)
        return {"version": VERSION, "ends": dict(self._ends)}

    def close(self) -> None:
        self._closed = True
        self._due.set()
        self._committer.join(1)  # it may be waiting for a broker, and would do so in vain
        self._writer.close()

    @contextmanager
    def _taken(self) -> Iterator[None]:
        with self._lock:
            if self._failure is not None:
                raise self._failure
            yield

    def _commit_between_snapshots(self) -> None:
        """Bytewax calls a sink when something comes, and once an epoch. Readers are not to wait for either."""
        pause, share, since, before = _LIVE_SECONDS, _LIVE_SHARE, time.monotonic(), 0
        while True:
            self._due.wait(pause)
            self._due.clear()
            if self._closed:
                return
            with self._lock:
                start = time.monotonic()
                if start > since + 1:
                    share = _REPLAY_SHARE if self._written - before > _MANY * (start - since) else _LIVE_SHARE
                    since, before = start, self._written
                try:
                    if self._pending:
                        self._flush()
                except Exception as error:
                    self._failure = error
                    return
            pause = pause_after(time.monotonic() - start, share=share, least=_LIVE_SECONDS)

    def _flush(self) -> None:
        with self.telemetry.deliveries.delivering("topics", self._pending):
            self._writer.flush()
        self._measure()
        self._pending = 0

    def _measure(self) -> None:
        now = time.time()
        for read_at, count in self._results:
            self.telemetry.metrics.latency.observe(now - read_at, count)
        for topic, count in self._counts.items():
            self.telemetry.metrics.written.labels(topic).inc(count)
        self.telemetry.dead_letters(self._letters)
        self._results.clear()
        self._counts.clear()
        self._letters.clear()

    def _read_back(self, spec: TopicSpec) -> set[tuple[Any, ...]]:
        """What stands in the topic after the last durable snapshot; without one, all of it."""
        number = self._partitions[spec.name]
        end = self._sink.log.end_offset(spec.name, number)
        start = self._ends.setdefault(spec.name, 0)
        if end < start:  # the topic was made anew
            start = self._ends[spec.name] = 0
        if end == start:
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
class AtLeastOnceSink(FixedPartitionedSink[Sequence[Message] | MessageColumns, None]):
    """Writes many messages of one topic at a time to the partitions of their keys, each at least once."""

    log: Log
    name: str
    """Of the command that writes."""
    delivered: Callable[[Mapping[str, int]], None] = lambda counts: None
    """Called after each flush with how many messages it made stand, by topic."""

    def list_parts(self) -> list[str]:
        return [self.name]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _AtLeastOnce:
        return _AtLeastOnce(self.log.writer(self.name), self.delivered)


class _AtLeastOnce(StatefulSinkPartition[Sequence[Message] | MessageColumns, None]):
    def __init__(self, writer: Writer, delivered: Callable[[Mapping[str, int]], None]) -> None:
        self._writer = writer
        self._delivered = delivered
        self._counts: Counter[str] = Counter()

    def write_batch(self, values: list[Sequence[Message] | MessageColumns]) -> None:
        for messages in values:
            if isinstance(messages, MessageColumns):
                topic = messages.topic
                self._writer.send_columns(messages)
            else:
                topic = messages[0].topic
                self._writer.send_all(messages)
            self._counts[topic] += len(messages)

    def snapshot(self) -> None:
        self._writer.flush()
        self._delivered(self._counts)
        self._counts.clear()

    def close(self) -> None:
        self._writer.close()
