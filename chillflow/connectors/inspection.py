"""Checks of a sample of the records for what assembly assumes of a topic; each finding is logged once.

Assembly assumes that the timestamp of a message is its event time, and that all events of a trip are in one partition.
Other producers may do neither.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated

import msgspec

from chillflow.connectors.log import Log
from chillflow.keyed.batches import Batch, Record, Undecodable
from chillflow.model.events import DecodedEvent
from chillflow.model.trips import milliseconds
from chillflow.telemetry import Telemetry

__all__ = ["Inspection", "body_time", "is_misplaced", "is_mistimed"]

_EVERY = 256
_TOLERANCE_MS = 1000
"""Timestamps may be rounded to the second."""


class _Time(msgspec.Struct):
    event_time: Annotated[datetime, msgspec.Meta(tz=True)]


_decode = msgspec.json.Decoder(_Time).decode


def body_time(value: bytes | None) -> int | None:
    """The event time in a message's body, ms since 1970; None if there is none. Takes 1 to 2 µs."""
    try:
        return milliseconds(_decode(value or b"").event_time)
    except (msgspec.MsgspecError, RecursionError, OverflowError, ValueError):
        return None


def is_misplaced(log: Log, record: Record, partition: int, partitions: int) -> bool:
    """Whether the record is not in the partition our producers choose for its key."""
    return bool(record.key and log.partition_of(record.key, partitions) != partition)


def is_mistimed(record: Record) -> bool:
    """Whether the record's timestamp differs from the event time in its body."""
    time = body_time(record.value)
    return time is not None and _differ(record.timestamp, time)


class Inspection:
    """Checks every 256th record of one partition."""

    def __init__(self, log: Log, topic: str, partition: int, telemetry: Telemetry, *, timestamps: bool) -> None:
        self._log, self._partition = log, partition
        self._partitions = log.partitions(topic)
        self._warn_once = partial(telemetry.warn_once, topic=topic, partition=partition)
        self._timestamps = timestamps
        self._next = 0
        """Index of the next sampled record, counted from the next batch."""

    def check(self, batch: Batch[DecodedEvent]) -> None:
        """Check the sampled records of the next batch."""
        count = len(batch)
        while self._next < count:
            self._check_record(batch.records.record(self._next), batch.events[self._next])
            self._next += _EVERY
        self._next -= count

    def _check_record(self, record: Record, event: DecodedEvent | Undecodable) -> None:
        if isinstance(event, Undecodable):
            return
        if is_misplaced(self._log, record, self._partition, self._partitions):
            self._warn_once(
                "partitioner",
                "a key is not in the partition that murmur2 gives it (as Java's producers and ours do): with several"
                " producers the events of a trip may be in two partitions, and the trip times out",
            )
        if self._timestamps and _differ(record.timestamp, milliseconds(event.event_time)):
            self._warn_once(
                "timestamp", "timestamps are not event times (LogAppendTime?): set CHILLFLOW_EVENT_TIME=body"
            )


def _differ(timestamp: int | None, event_time: int) -> bool:
    return timestamp is None or abs(timestamp - event_time) > _TOLERANCE_MS
