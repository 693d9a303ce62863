"""A topic as people and pipes read it: its partitions merged by time, a line a message."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from typing import Any, NamedTuple

from chillflow.connectors.log import Log, LogRecord, PartitionReader, records_until_end
from chillflow.model.codec import decode_value

__all__ = ["Following", "Shown", "matches"]

_BATCH = 500
_IDLE_SECONDS = 0.05


class Shown(NamedTuple):
    """A message, and what its value says if that is a JSON object."""

    topic: str
    partition: int
    record: LogRecord
    value: dict[str, Any] | None


class Following:
    """Reads all partitions of a topic, the oldest message first among those at hand."""

    def __init__(self, log: Log, topic: str, since: str | int) -> None:
        """`since` is "beginning", "end", or a time in ms. Raises UnknownTopicError."""
        self._topic = topic
        self._readers: list[PartitionReader] = []
        for number in range(log.partitions(topic)):
            position = None
            if since == "end":
                position = log.end_offset(topic, number)
            elif isinstance(since, int):
                position = log.offset_at(topic, number, since)
            self._readers.append(log.reader(topic, number, position, group=None))

    def messages(self, *, stop_at_end: bool, on_end: Callable[[], None]) -> Iterator[Shown]:
        """The messages; `on_end` is called at the end of what there was, before waiting for more."""
        yield from self._merged(records_until_end(reader, limit=_BATCH) for reader in self._readers)
        if stop_at_end:
            return
        on_end()
        while True:
            new = [[reader.read(_BATCH)] for reader in self._readers]
            yield from self._merged(new)
            if not any(records for (records,) in new):
                time.sleep(_IDLE_SECONDS)

    def _merged(self, partitions: Iterable[Iterable[list[LogRecord]]]) -> Iterator[Shown]:
        """Messages of all partitions by timestamp; within a partition they keep their order."""
        shown = [self._shown(number, batches) for number, batches in enumerate(partitions)]
        return merge(*shown, key=lambda message: message.record.timestamp or 0)

    def _shown(self, partition: int, batches: Iterable[list[LogRecord]]) -> Iterator[Shown]:
        for records in batches:
            for record in records:
                yield Shown(self._topic, partition, record, _value(record))

    def close(self) -> None:
        """Let the readers go."""
        for reader in self._readers:
            reader.close()


def _value(record: LogRecord) -> dict[str, Any] | None:
    try:
        value = decode_value(record.value) if record.value is not None else None
    except Exception:  # whatever the bytes are, they are shown as they are
        return None
    return value if isinstance(value, dict) else None


def matches(message: Shown, trip_key: str | None, event_type: str | None) -> bool:
    """Whether the message is of this trip and this type, where they are given."""
    if trip_key is not None and message.record.key != trip_key.encode():
        return False
    return event_type is None or (message.value or {}).get("event_type") == event_type
