"""What Kafka and the file log have in common: topics of partitions of records. The rest is built on this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

from chillflow.keyed.batches import Headers
from chillflow.model.messages import Message, MessageColumns
from chillflow.model.topics import TopicSpec

__all__ = [
    "Description",
    "End",
    "Log",
    "LogColumns",
    "LogRecord",
    "OffsetUnit",
    "PartitionReader",
    "Writer",
    "newest_timestamp",
]

OffsetUnit: TypeAlias = Literal["messages", "bytes"]


class LogRecord(NamedTuple):
    """One message as it stands in a partition."""

    offset: int
    timestamp: int | None
    """Event time in ms since 1970."""
    key: bytes | None
    value: bytes | None
    headers: Headers | None


class LogColumns(NamedTuple):
    """Messages that follow one another in a partition, field by field."""

    offsets: Sequence[int]
    timestamps: Sequence[int | None]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers | None]

    def record(self, at: int) -> LogRecord:
        """One of them."""
        return LogRecord(self.offsets[at], self.timestamps[at], self.keys[at], self.values[at], self.headers[at])

    def before(self, end: int) -> LogColumns:
        """Those before this one."""
        return LogColumns(
            self.offsets[:end], self.timestamps[:end], self.keys[:end], self.values[:end], self.headers[:end]
        )

    def records(self) -> list[LogRecord]:
        """All of them."""
        return [*map(LogRecord._make, zip(*self, strict=True))]


class End(NamedTuple):
    """The end of a partition as readers see it."""

    offset: int
    """That of the next message."""
    newest: int | None
    """About the newest timestamp, ms: of its last messages (files), of all (Kafka)."""


class Description(NamedTuple):
    """A topic as it is, not as we would make it."""

    partitions: int
    replicas: int
    config: Mapping[str, str]
    """Its configuration by Kafka's names, defaults of the broker included."""


class PartitionReader(Protocol):
    """Reads one partition in order."""

    position: int
    """The offset after the last record read: where to go on, and what to commit."""
    at_end: bool
    """Whether nothing has come since the end of the partition was found."""

    def read(self, limit: int) -> list[LogRecord]:
        """The next records, at most `limit`; none if there are none yet. Does not wait."""

    def columns(self, limit: int) -> LogColumns | None:
        """The same, field by field, or None."""

    def commit(self, position: int) -> None:
        """Tell the consumer group how far the work has come. Only for lag tools: nothing resumes from it."""

    def close(self) -> None:
        """Stop reading."""


class Writer(Protocol):
    """Writes messages; nothing is certain until `flush` has returned. Then readers see it, too."""

    failed: int

    @property
    def delivered(self) -> int:
        """Messages that stand."""

    def send(self, message: Message, partition: int | None = None) -> None:
        """Hand over one message, for the partition of its key if none is given."""

    def send_all(self, messages: Sequence[Message], partition: int | None = None) -> None:
        """Hand over messages of one topic, at least one."""

    def send_columns(self, columns: MessageColumns) -> None:
        """Hand over many messages, each for the partition of its key."""

    def flush(self) -> None:
        """Wait until all messages stand. Raises DeliveryError with the first failure."""

    def close(self) -> None:
        """Let go of the log. Messages since the last flush may be lost."""


class Log(Protocol):
    """A place of topics. Methods raise KafkaError and its kind."""

    @property
    def offset_unit(self) -> OffsetUnit:
        """What one step of an offset is: lag in offsets has this unit."""

    def ensure_topics(self, specs: Sequence[TopicSpec], partitions: int, replication_factor: int) -> list[str]:
        """Make the topics that are missing; the names of those made."""

    def remove_topics(self, names: Sequence[str]) -> None:
        """Remove these topics and what they hold; when it returns they are gone. One that is not there is no error."""

    def describe(self, topic: str) -> Description:
        """What a topic is like. Raises UnknownTopicError."""

    def partitions(self, topic: str) -> int:
        """Number of partitions. Raises UnknownTopicError."""

    def topic_id(self, topic: str) -> str | None:
        """What tells this topic from another one that had its name before; None where nothing does."""

    def watch(self, topic: str) -> Callable[[], None]:
        """A check to be made now and then, which does not wait: it raises when the topic is not what it was."""

    def end_offset(self, topic: str, partition: int) -> int:
        """The offset that the next message will get."""

    def offset_at(self, topic: str, partition: int, timestamp: int) -> int:
        """The first offset whose timestamp (ms) is not before this one."""

    def partition_of(self, key: bytes, partitions: int) -> int:
        """The partition where our producers put a key."""

    def ends(self, topic: str) -> list[End]:
        """The ends of all partitions, asked in one go."""

    def newest(self, topic: str, partition: int, count: int) -> list[LogRecord]:
        """About so many of the newest records of a partition."""

    def reader(self, topic: str, partition: int, position: int | None, *, group: str | None) -> PartitionReader:
        """A reader from `position`, or from the beginning."""

    def writer(self, name: str) -> Writer:
        """A writer for the command `name`: each message at least once, in the partition of its key."""

    def exactly_once_writer(self, name: str, partition: int) -> Writer:
        """The one writer of the pipeline `name` for this partition number.

        What an older one left open is undone, and it can write nothing more. Readers see what is written up to a
        flush, whole or not at all.
        """

    def fence(self, name: str, partitions: int, *, keep: bool = False) -> None:
        """Shut out older writers of the pipeline, also of partitions for which there is nothing to write yet.

        With `keep` the writers that do so are those that `exactly_once_writer` gives.
        """


def newest_timestamp(log: Log, topic: str) -> int | None:
    """About the newest time in a topic, ms."""
    return max((end.newest for end in log.ends(topic) if end.newest is not None), default=None)
