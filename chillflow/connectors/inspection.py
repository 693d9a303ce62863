"""Is the topic what assembly takes it for? Topics written by others may not be: noticed on a sample, warned of once.

Two things are taken for granted: the timestamp of a message is the time of its event, and all events of a trip
lie in one partition.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Annotated

import msgspec

from chillflow.connectors.log import Log, LogColumns, LogRecord
from chillflow.model.trips import milliseconds
from chillflow.telemetry import Telemetry

__all__ = ["Inspection", "body_time", "is_misplaced", "is_mistimed"]

_EVERY = 256
_TOLERANCE_MS = 1000
"""A timestamp may be rounded."""


class _Time(msgspec.Struct):
    event_time: Annotated[datetime, msgspec.Meta(tz=True)]


_decode = msgspec.json.Decoder(_Time).decode


def body_time(value: bytes | None) -> int | None:
    """The event time that a message's body says, ms; None if it says none. Costs 1 to 2 µs."""
    try:
        return milliseconds(_decode(value or b"").event_time)
    except (msgspec.MsgspecError, RecursionError, OverflowError, ValueError):
        return None


def is_misplaced(log: Log, record: LogRecord, partition: int, partitions: int) -> bool:
    """Whether the record stands elsewhere than where our producers put its key."""
    return bool(record.key) and log.partition_of(record.key or b"", partitions) != partition


def is_mistimed(record: LogRecord) -> bool:
    """Whether the record's timestamp is not the event time that its body says."""
    time = body_time(record.value)
    return time is not None and (record.timestamp is None or abs(record.timestamp - time) > _TOLERANCE_MS)


class Inspection:
    """Looks at each 256th record of one partition."""

    def __init__(self, log: Log, topic: str, partition: int, telemetry: Telemetry, *, timestamps: bool) -> None:
        self._log, self._topic, self._partition, self._telemetry = log, topic, partition, telemetry
        self._partitions = log.partitions(topic)
        self._timestamps = timestamps
        self._until = 0
        self.found: Counter[str] = Counter()
        """How many of the sampled records are not as they should be, by what is wrong."""

    def look(self, columns: LogColumns) -> None:
        """Take the next records into account."""
        count = len(columns.offsets)
        while self._until < count:
            self._check(columns.record(self._until))
            self._until += _EVERY
        self._until -= count

    def _check(self, record: LogRecord) -> None:
        if is_misplaced(self._log, record, self._partition, self._partitions):
            self._note(
                "partitioner",
                "a key is not in the partition where murmur2 puts it (Java's producers and ours): if others write to"
                " this topic too, the events of a trip may lie in two partitions, and the trip times out",
            )
        if self._timestamps and is_mistimed(record):
            self._note(
                "timestamp",
                "timestamps are not the times of the events (LogAppendTime?): set CHILLFLOW_EVENT_TIME=body",
            )

    def _note(self, what: str, warning: str) -> None:
        self.found[what] += 1
        if self.found[what] == 1:
            self._telemetry.warn_once(what, warning, topic=self._topic, partition=self._partition)
