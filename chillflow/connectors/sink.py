"""The sinks of the topics: exactly once for results, at least once for produced events.

A result of an epoch that did not become durable is computed again after a restart, and is the same, because it depends
on the log alone. So a partition of the exactly-once sink, when it starts, reads its own output from the end offset in
the last durable snapshot, and then skips results already written. No older instance can write in the meantime: the new
writer has fenced it (`Log.exactly_once_writer`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import TypedDict

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from chillflow.connectors.background import pause_after
from chillflow.connectors.log import Log, Writer, records_until_end
from chillflow.keyed.placement import partition_name
from chillflow.keyed.timed import Timed
from chillflow.keyed.versions import refuse_newer
from chillflow.model.messages import Message, MessageColumns
from chillflow.model.topics import TopicSpec, identity
from chillflow.telemetry import Telemetry
from chillflow.telemetry.clocks import Clocks
from chillflow.telemetry.failures import keeps_failures

__all__ = ["AtLeastOnceSink", "ExactlyOnceSink"]

VERSION = 1
_LIVE_SECONDS = 0.05
"""Pause between commits of live results: readers see a result this soon."""
_LIVE_SHARE, _REPLAY_SHARE = 0.33, 0.01
"""The largest share of the time that commits may take. A commit of a few messages takes 3 to 30 ms. In a replay it
first waits for all messages in flight, which no reader is waiting for."""
_REPLAY_RATE = 3_000
"""Messages a second above which results are a replay. Averaged over a second or more: windows come in bursts."""
_topic: Callable[[Message], str] = attrgetter("topic")


class SinkSnapshot(TypedDict):
    """Recovery state of one partition of the sink."""

    version: int
    ends: dict[str, int]
    """By topic, the offset from which to read output back after a restart."""


@keeps_failures
@dataclass(frozen=True)
class ExactlyOnceSink(FixedPartitionedSink[Sequence[Message], SinkSnapshot]):
    """Writes lists of messages, keyed by their partition, to the topics in `specs`."""

    log: Log
    name: str
    """Name of the pipeline: its writers fence older ones of this name."""
    partitions: int
    specs: Mapping[str, TopicSpec]
    telemetry: Telemetry = field(default_factory=Telemetry, repr=False, compare=False)
    clocks: Clocks = field(default=Clocks(), repr=False, compare=False)
    built: list[_ExactlyOncePartition] = field(default_factory=list, init=False, repr=False, compare=False)
    """Partitions built in this process."""

    def list_parts(self) -> list[str]:
        return [partition_name(number) for number in range(self.partitions)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: SinkSnapshot | None) -> _ExactlyOncePartition:
        self.built.append(_ExactlyOncePartition(self, int(for_part), resume_state))
        return self.built[-1]


@keeps_failures
class _ExactlyOncePartition(StatefulSinkPartition[Sequence[Message], SinkSnapshot]):
    def __init__(self, sink: ExactlyOnceSink, number: int, state: SinkSnapshot | None) -> None:
        if state is not None:
            refuse_newer("a sink snapshot", state["version"], VERSION)
        self._sink = sink
        self.telemetry = sink.telemetry
        self._number = number
        self._partitions = {name: number % sink.log.partitions(name) for name in sink.specs}
        """The partition of each topic that this one writes to."""
        self._writer: Writer = sink.log.exactly_once_writer(sink.name, number)
        self._ends: dict[str, int] = dict(state["ends"]) if state else {}
        self._already_written = {
            name: self._read_back(spec) for name, spec in sink.specs.items() if not spec.is_changelog
        }
        """By topic, the identities of results written after the last durable snapshot and not computed again yet."""
        self._touched: set[str] = set()
        """Topics written to since their end offset last advanced."""
        self._pending = self._written = 0
        """Messages sent since the last commit, and since the start."""
        self._counts: Counter[str] = Counter()
        """Pending messages by topic."""
        self._dead_letters: list[Message] = []
        """Dead letters among the pending messages."""
        self._results: list[tuple[float, int]] = []
        """For the latency of pending messages: when their input was read, and their number."""
        self._lock = threading.Lock()
        """Guards the writer and the pending messages: nothing can be sent while a transaction commits."""
        self._failure: Exception | None = None
        """Error of the committer thread, raised by the next call."""
        self._due = threading.Event()
        """Ends the committer's pause."""
        self._closed = False
        self._committer = threading.Thread(target=self._commit_between_snapshots, daemon=True)
        self._committer.start()

    def write_batch(self, values: list[Sequence[Message]]) -> None:
        with self._writing():
            for messages in values:
                written = sum(self._write(topic, [*some]) for topic, some in groupby(messages, _topic))
                self._pending += written
                self._written += written
                if written and isinstance(messages, Timed):
                    self._results.append((messages.read_at, written))

    def _write(self, topic: str, messages: list[Message]) -> int:
        """Send the messages of one topic, except those already written. Returns how many were sent."""
        spec = self._sink.specs[topic]
        if spec.is_changelog:
            self._writer.send_all(messages)
        else:
            self._touched.add(topic)
            if self._already_written[topic]:
                messages = [message for message in messages if not self._is_already_written(spec, message)]
                if not messages:
                    return 0
            self._writer.send_all(messages, self._number)
        self._counts[topic] += len(messages)
        if spec.is_dead_letters:
            self._dead_letters += messages
        return len(messages)

    def _is_already_written(self, spec: TopicSpec, message: Message) -> bool:
        """Whether the message was read back at the start; true once per message."""
        this, already_written = identity(spec, message), self._already_written[spec.name]
        if this not in already_written:
            return False
        already_written.remove(this)
        return True

    def snapshot(self) -> SinkSnapshot:
        for part in self._sink.built:  # snapshots are taken one by one: let all partitions commit at once
            if part is not self and part._pending:
                part._due.set()
        with self._writing():
            self._flush()  # the recovery store must never be ahead of the output
        # This epoch may be shorter than the lost one. Results already written but not computed again yet must be read
        # back again after the next crash, so an end offset advances only when none is left.
        for topic in [topic for topic in self._touched if not self._already_written[topic]]:
            self._ends[topic] = self._sink.log.end_offset(topic, self._partitions[topic])
            self._touched.remove(topic)
        return {"version": VERSION, "ends": dict(self._ends)}

    def close(self) -> None:
        self._closed = True
        self._due.set()
        self._committer.join(1)  # no longer: it may be waiting for a lost broker
        self._writer.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the lock. Raises the committer thread's error."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            yield

    def _commit_between_snapshots(self) -> None:
        """The committer thread: Bytewax calls a sink only on input and once an epoch."""
        pace, pause = _CommitPace(self._sink.clocks), _LIVE_SECONDS
        while True:
            self._due.wait(pause)
            self._due.clear()
            if self._closed:
                return
            with self._lock:
                pace.begin(self._written)
                try:
                    if self._pending:
                        self._flush()
                except Exception as error:
                    self._failure = error
                    return
                pause = pace.pause()

    def _flush(self) -> None:
        with self.telemetry.deliveries.delivering("topics", self._pending):
            self._writer.flush()
        self._measure()
        self._pending = 0

    def _measure(self) -> None:
        now = self._sink.clocks.wall()
        for read_at, count in self._results:
            self.telemetry.metrics.latency.observe(now - read_at, count)
        for topic, count in self._counts.items():
            self.telemetry.metrics.written.labels(topic).inc(count)
        self.telemetry.dead_letters(self._dead_letters)
        self._results.clear()
        self._counts.clear()
        self._dead_letters.clear()

    def _read_back(self, spec: TopicSpec) -> set[tuple[object, ...]]:
        """Identities of the results in the topic after the last durable snapshot; without one, of all of them."""
        number = self._partitions[spec.name]
        end = self._sink.log.end_offset(spec.name, number)
        start = self._ends.setdefault(spec.name, 0)
        if end < start:  # the topic was recreated
            start = self._ends[spec.name] = 0
        if end == start:
            return set()
        found = set()
        with closing(self._sink.log.reader(spec.name, number, start or None, group=None)) as reader:
            for records in records_until_end(reader, end=end, clocks=self._sink.clocks):
                for record in records:
                    message = Message(spec.name, record.key, record.value, None, record.headers or ())
                    found.add(identity(spec, message))
        if not found:  # only transaction markers
            self._ends[spec.name] = end
        return found


class _CommitPace:
    """The pause between commits: short while results are live, long in a replay."""

    def __init__(self, clocks: Clocks) -> None:
        self._monotonic = clocks.monotonic
        self._start = self._since = clocks.monotonic()
        self._before = 0
        self._share = _LIVE_SHARE

    def begin(self, written: int) -> None:
        """Begin a commit, with `written` messages sent since the start."""
        self._start = self._monotonic()
        if self._start > self._since + 1:
            is_replay = written - self._before > _REPLAY_RATE * (self._start - self._since)
            self._share = _REPLAY_SHARE if is_replay else _LIVE_SHARE
            self._since, self._before = self._start, written

    def pause(self) -> float:
        """Seconds to wait after the commit."""
        return pause_after(self._monotonic() - self._start, share=self._share, least=_LIVE_SECONDS)


@dataclass(frozen=True)
class AtLeastOnceSink(FixedPartitionedSink[Sequence[Message] | MessageColumns, None]):
    """Writes batches, each of one topic, to the partitions of their keys, at least once."""

    log: Log
    name: str
    """Name of the command that writes."""
    on_delivered: Callable[[Mapping[str, int]], None] = lambda counts: None
    """Called after each flush with the number of delivered messages by topic."""

    def list_parts(self) -> list[str]:
        return [self.name]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _AtLeastOncePartition:
        return _AtLeastOncePartition(self.log.writer(self.name), self.on_delivered)


class _AtLeastOncePartition(StatefulSinkPartition[Sequence[Message] | MessageColumns, None]):
    def __init__(self, writer: Writer, on_delivered: Callable[[Mapping[str, int]], None]) -> None:
        self._writer = writer
        self._on_delivered = on_delivered
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
        self._on_delivered(self._counts)
        self._counts.clear()

    def close(self) -> None:
        self._writer.close()
