"""The protocols of a log (Kafka or files): its topics and partitions, and their readers and writers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

from chillflow.connectors.retrying import Retrying
from chillflow.errors import KafkaUnavailableError
from chillflow.keyed.batches import Record, RecordColumns
from chillflow.model.messages import Message, MessageColumns
from chillflow.model.topics import TopicSpec
from chillflow.telemetry.clocks import Clocks

__all__ = [
    "Description",
    "End",
    "Log",
    "OffsetUnit",
    "PartitionReader",
    "Writer",
    "newest_timestamp",
    "records_until_end",
]

OffsetUnit: TypeAlias = Literal["messages", "bytes"]
_POLL_SECONDS = 0.005
"""Pause after a poll that found nothing."""


class End(NamedTuple):
    """The end of a partition as a reader of committed messages sees it."""

    offset: int
    """Offset of the next message."""
    newest: int | None
    """The latest timestamp, ms, of the last messages (files) or of all (Kafka); None without one."""


class Description(NamedTuple):
    """A topic as it exists, which may differ from its TopicSpec."""

    partitions: int
    replicas: int
    config: Mapping[str, str]
    """Kafka's topic configuration, including the broker's defaults; empty for files."""


class PartitionReader(Protocol):
    """A reader of one partition, in order of offsets."""

    position: int
    """The offset after the last record read: to resume from, and to commit."""
    at_end: bool
    """Whether the reader has reached the end of the partition and read nothing since."""

    def read(self, limit: int) -> list[Record]:
        """The next records, at most `limit`; empty if there are none yet. Does not wait."""

    def columns(self, limit: int) -> RecordColumns | None:
        """The next records by field, at most `limit`; None if there are none yet. Does not wait."""

    def commit(self, position: int) -> None:
        """Commit an offset to the consumer group. Only for lag tools: nothing resumes from it."""

    def close(self) -> None:
        """Release the reader's connection or file."""


class Writer(Protocol):
    """A writer of messages. They are durable and visible to readers once `flush` has returned."""

    failed: int
    """Messages that could not be delivered."""

    @property
    def delivered(self) -> int:
        """Messages delivered so far."""

    def send(self, message: Message, partition: int | None = None) -> None:
        """Queue one message, by default for the partition of its key."""

    def send_all(self, messages: Sequence[Message], partition: int | None = None) -> None:
        """Queue messages of one topic, at least one."""

    def send_columns(self, columns: MessageColumns) -> None:
        """Queue many messages, each for the partition of its key."""

    def flush(self) -> None:
        """Wait until all queued messages are delivered. Raises DeliveryError with the first failure."""

    def close(self) -> None:
        """Release the writer. Messages since the last flush may be lost."""


class Log(Protocol):
    """A set of topics. Methods raise KafkaError and its subclasses."""

    @property
    def offset_unit(self) -> OffsetUnit:
        """The unit of offsets, and so of lag."""

    def ensure_topics(self, specs: Sequence[TopicSpec], partitions: int, replication_factor: int) -> list[str]:
        """Create the topics that are missing; returns their names."""

    def remove_topics(self, names: Sequence[str]) -> None:
        """Delete topics and wait until they are gone. A missing topic is no error."""

    def describe(self, topic: str) -> Description:
        """Partitions, replicas and configuration of a topic. Raises UnknownTopicError."""

    def partitions(self, topic: str) -> int:
        """Number of partitions. Raises UnknownTopicError."""

    def topic_id(self, topic: str) -> str | None:
        """The id that distinguishes a topic from an earlier one of the same name; None where there are no ids."""

    def watch(self, topic: str) -> Callable[[], None]:
        """A non-blocking check to call regularly: raises if the topic was deleted, recreated or extended."""

    def end_offset(self, topic: str, partition: int) -> int:
        """The offset of the next message."""

    def offset_at(self, topic: str, partition: int, timestamp: int) -> int:
        """The offset of the first message with this timestamp (ms) or a later one; the end if there is none."""

    def partition_of(self, key: bytes, partitions: int) -> int:
        """The partition our producers choose for a key."""

    def ends(self, topic: str) -> list[End]:
        """The ends of all partitions, in one request."""

    def newest(self, topic: str, partition: int, count: int) -> list[Record]:
        """About `count` of the newest records of a partition."""

    def reader(self, topic: str, partition: int, position: int | None, *, group: str | None) -> PartitionReader:
        """A reader from offset `position`, or from the beginning."""

    def writer(self, name: str) -> Writer:
        """An at-least-once writer for the command `name`."""

    def exactly_once_writer(self, name: str, partition: int) -> Writer:
        """The only writer of the pipeline `name` for this partition number; older ones are fenced.

        Open transactions of older writers are aborted. Readers see all messages up to a flush, or none (Kafka only).
        """

    def fence(self, name: str, partitions: int, *, keep: bool = False) -> None:
        """Fence older writers of the pipeline in all partitions, including those with nothing to write yet.

        With `keep`, `exactly_once_writer` later returns the writers that fenced them.
        """


def newest_timestamp(log: Log, topic: str) -> int | None:
    """The latest timestamp in a topic, ms, as `Log.ends` reports it."""
    return max((end.newest for end in log.ends(topic) if end.newest is not None), default=None)


def records_until_end(
    reader: PartitionReader,
    *,
    end: int | None = None,
    limit: int = 5_000,
    patience: float | None = None,
    clocks: Clocks = Clocks(),
) -> Iterator[list[Record]]:
    """Batches of at most `limit` records, from the reader's position to the end of the partition.

    Stops when the reader is at the end, or has passed offset `end`: the only way to finish on a partition that is
    written faster than it is read. The last batch may go past `end`. The caller closes the reader.
    Raises KafkaUnavailableError when nothing arrives for `patience` seconds.
    """
    polling = Retrying(pause=_POLL_SECONDS, clocks=clocks)
    while end is None or reader.position < end:
        if records := reader.read(limit):
            yield records
            polling = Retrying(pause=_POLL_SECONDS, clocks=clocks)
        elif reader.at_end:
            return
        elif patience is not None and polling.expired(patience):
            raise KafkaUnavailableError(f"no records arrived for {patience:g} s")
        else:
            polling.pause()
