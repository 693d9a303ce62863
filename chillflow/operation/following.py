"""The job of `consume-events`: read a topic, its partitions merged by timestamp, and follow it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from heapq import merge
from typing import Literal, NamedTuple, TypeAlias

from chillflow.connectors import open_log
from chillflow.connectors.log import Log, PartitionReader, records_until_end
from chillflow.keyed.batches import Record
from chillflow.model.codec import decode_value
from chillflow.settings import Settings

__all__ = ["Following", "Shown", "Start", "follow"]

_BATCH = 500
_IDLE_SECONDS = 0.05

Start: TypeAlias = Literal["beginning", "end"] | int
"""Where to start reading; a number is an event time in ms since 1970."""


class Shown(NamedTuple):
    """A message with its decoded value."""

    topic: str
    partition: int
    record: Record
    value: dict[str, object] | None
    """None if the value is not a JSON object."""


def follow(
    settings: Settings,
    start: Start,
    *,
    stop_at_end: bool,
    on_end: Callable[[], None],
    trip_key: str | None = None,
    event_type: str | None = None,
) -> Generator[Shown, None, None]:
    """The messages of the topic, optionally of one trip or one type. Commits no offsets.

    Calls `on_end` once, before waiting for more. Raises UnknownTopicError.
    """
    with closing(Following(open_log(settings), settings.topic, start)) as following:
        for message in following.messages(stop_at_end=stop_at_end, on_end=on_end):
            if _matches(message, trip_key, event_type):
                yield message


class Following:
    """Reads all partitions of a topic, merged by timestamp."""

    def __init__(self, log: Log, topic: str, start: Start) -> None:
        """Raises UnknownTopicError."""
        self._topic = topic
        self._readers: list[PartitionReader] = []
        for number in range(log.partitions(topic)):
            position = None
            if start == "end":
                position = log.end_offset(topic, number)
            elif isinstance(start, int):
                position = log.offset_at(topic, number, start)
            self._readers.append(log.reader(topic, number, position, group=None))

    def messages(self, *, stop_at_end: bool, on_end: Callable[[], None]) -> Iterator[Shown]:
        """The messages. Calls `on_end` once, before waiting for more."""
        yield from self._merged(records_until_end(reader, limit=_BATCH) for reader in self._readers)
        if stop_at_end:
            return
        on_end()
        while True:
            new = [[reader.read(_BATCH)] for reader in self._readers]
            yield from self._merged(new)
            if not any(records for (records,) in new):
                time.sleep(_IDLE_SECONDS)

    def _merged(self, partitions: Iterable[Iterable[list[Record]]]) -> Iterator[Shown]:
        """The messages of all partitions by timestamp, in offset order within a partition."""
        shown = [self._shown(number, batches) for number, batches in enumerate(partitions)]
        return merge(*shown, key=lambda message: message.record.timestamp or 0)

    def _shown(self, partition: int, batches: Iterable[list[Record]]) -> Iterator[Shown]:
        for records in batches:
            for record in records:
                yield Shown(self._topic, partition, record, _value(record))

    def close(self) -> None:
        """Close the readers."""
        for reader in self._readers:
            reader.close()


def _value(record: Record) -> dict[str, object] | None:
    try:
        value = decode_value(record.value) if record.value is not None else None
    except Exception:  # any bytes may be in a topic
        return None
    return value if isinstance(value, dict) else None


def _matches(message: Shown, trip_key: str | None, event_type: str | None) -> bool:
    if trip_key is not None and message.record.key != trip_key.encode():
        return False
    return event_type is None or (message.value or {}).get("event_type") == event_type
