"""A topic as people and pipes read it: its partitions merged by time, a line a message."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from chillflow.connectors.log import Log, LogRecord, PartitionReader
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
        self._waiting: list[deque[LogRecord]] = [deque() for _ in self._readers]

    def messages(self, *, stop_at_end: bool, on_end: Callable[[], None]) -> Iterator[Shown]:
        """The messages; `on_end` is called when for the first time there are no more."""
        told = False
        while True:
            behind = False
            for reader, waiting in zip(self._readers, self._waiting, strict=True):
                if not waiting:
                    waiting.extend(reader.read(_BATCH))
                behind = behind or not (waiting or reader.at_end)
            ready = [number for number, waiting in enumerate(self._waiting) if waiting]
            if ready and (not behind or told):
                number = min(ready, key=lambda each: self._waiting[each][0].timestamp or 0)
                record = self._waiting[number].popleft()
                yield Shown(self._topic, number, record, _value(record))
            elif behind or told:
                time.sleep(_IDLE_SECONDS)
            elif stop_at_end:
                return
            else:
                on_end()
                told = True

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
