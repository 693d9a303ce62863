"""History of one trip: its messages and revisions, found without reading whole topics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from chillflow.assembly.precedence import precedence
from chillflow.connectors.database import Reader, Statement
from chillflow.connectors.log import Log, records_until_end
from chillflow.errors import DecodeError, UnknownTopicError
from chillflow.keyed.batches import Record, times_of_events
from chillflow.keyed.watermark import WatermarkTracker
from chillflow.model.codec import decode_all, decode_keyed, decode_value
from chillflow.model.events import DecodedEvent, TripEvent
from chillflow.model.topics import TopicNames
from chillflow.model.trips import milliseconds

__all__ = ["TripFinder", "TripHistory", "TripMessage", "TripRevision"]

_BATCH = 5_000
_PATIENCE = 10.0
_MILLISECOND = timedelta(milliseconds=1)
_TIMES: Statement = """
    select pickup_ts, dropoff_ts from stg.complete_trip where trip_key = %(key)s
    union all
    select pickup_ts, dropoff_ts from stg.incomplete_trip where trip_key = %(key)s
"""


class _TimesRow(NamedTuple):
    pickup: datetime | None
    dropoff: datetime | None


class TripMessage(NamedTuple):
    """A message with the key of the trip."""

    offset: int
    event_type: str
    event_time: datetime | None
    version: int | None
    outcome: str
    """`counted`, `duplicate`, `superseded`, or why the message is not an event."""
    fields: dict[str, object]
    """Fields that not all events have."""


class TripRevision(NamedTuple):
    """One result for the trip."""

    number: int
    offset: int
    missing: tuple[str, ...]
    """Missing event types; empty for a complete trip."""
    fields: dict[str, object]


class TripHistory(NamedTuple):
    """The messages and results of a trip in the topics, and the offsets that were read."""

    key: str
    partition: int
    partitions: int
    first: int
    end: int
    """Offset after the last one read."""
    read: int
    """Number of messages read."""
    by_times: bool
    """Whether the tables know the trip's times; else only the newest messages are read."""
    cut: bool
    """Whether reading stopped at the limit."""
    messages: list[TripMessage]
    revisions: list[TripRevision]


@dataclass(frozen=True)
class TripFinder:
    """Finds the history of a trip by its key."""

    log: Log
    reader: Reader
    topics: TopicNames
    stream_time_rank: int
    trip_timeout: timedelta
    correction_horizon: timedelta
    limit: int = 200_000
    """Messages read from a partition, at most."""

    def find(self, key: str) -> TripHistory:
        """The history of a trip. Raises ChillFlowError.

        All its events are in the partition of its key, from the first message at or after the trip's earliest time on.
        Events can be delayed, so reading goes on until the watermark is a trip timeout past the latest time.
        """
        rows = self.reader.rows(_TIMES, {"key": key}, _TimesRow)
        known = [each for row in rows for each in row if each is not None]
        partitions = self.log.partitions(self.topics.events)
        partition = self.log.partition_of(key.encode(), partitions)
        timeout = self.trip_timeout // _MILLISECOND
        if known:
            since, until = milliseconds(min(known)), milliseconds(max(known)) + timeout
        else:
            newest = self.log.ends(self.topics.events)[partition].newest or 0
            since, until = newest - timeout, newest
        scan = _PartitionScan(self, self.topics.events, partition, since, until)
        messages = _messages([*scan.records(key)])
        # a result has the time of the trip's end; corrections follow within the correction horizon
        later = until + self.correction_horizon // _MILLISECOND
        revisions = [
            _revision(record)
            for topic in (self.topics.complete, self.topics.incomplete)
            for record in _PartitionScan(self, topic, partition, since, later).records(key)
        ]
        revisions.sort(key=lambda each: each.number)
        return TripHistory(
            key, partition, partitions, scan.first, scan.position, scan.read, bool(known), scan.cut, messages, revisions
        )


class _PartitionScan:
    """Reads a partition from the first message at `since` until the watermark is past `until`, or to the limit.

    The watermark, as in assembly, decides where to stop, not the offset of `until`: one message dated far ahead would
    be the first at or after any later time.
    """

    def __init__(self, finder: TripFinder, topic: str, partition: int, since: int, until: int) -> None:
        self._log, self._topic, self._partition = finder.log, topic, partition
        self._watermark = WatermarkTracker(finder.stream_time_rank)
        self._until = until
        self._limit = finder.limit
        self._has_events = topic == finder.topics.events
        try:
            self.first, self._end = self._log.offset_at(topic, partition, since), self._log.end_offset(topic, partition)
        except UnknownTopicError:
            self.first = self._end = 0  # there are no results yet
        self.position = self.first
        self.read = 0
        self.cut = False

    def records(self, key: str) -> Iterator[Record]:
        """The records with this key."""
        if self.position >= self._end:
            return
        wanted, batch = key.encode(), min(_BATCH, self._limit)
        with closing(self._log.reader(self._topic, self._partition, self.position, group=None)) as reader:
            for records in records_until_end(reader, end=self._end, limit=batch, patience=_PATIENCE):
                yield from (record for record in records if record.key == wanted)
                self._observe(records)
                self.read += len(records)
                self.position = reader.position
                self.cut = self.read > self._limit - batch and self.position < self._end
                if self.cut or self._watermark.now > self._until:
                    return

    def _observe(self, records: Sequence[Record]) -> None:
        keys = [record.key for record in records]
        times: Sequence[int | None] = [record.timestamp for record in records]
        if self._has_events:
            times = times_of_events(decode_all(keys, [record.value for record in records]), times)
        self._watermark.observe_all(times, keys)


def _messages(records: Sequence[Record]) -> list[TripMessage]:
    """The messages in arrival order, each with its outcome after all of them."""
    messages: list[TripMessage] = []
    counted: dict[type, tuple[int, DecodedEvent]] = {}
    """By event type, the event that counts and its position."""
    for number, record in enumerate(records):
        try:
            event = decode_keyed(record.key, record.value)
        except DecodeError as error:
            messages.append(_message(record, None, f"not an event: {error}"))
            continue
        at, current = counted.get(type(event), (number, None))
        found = precedence(event, current)
        if found == "newer":
            if current is not None:
                messages[at] = messages[at]._replace(outcome="superseded")
            counted[type(event)] = number, event
        messages.append(_message(record, event, "counted" if found == "newer" else found))
    return messages


def _message(record: Record, event: DecodedEvent | None, outcome: str) -> TripMessage:
    fields = _fields(record)
    return TripMessage(
        record.offset,
        str(fields.get("event_type", "?")),
        None if event is None else event.event_time,
        None if event is None else event.event_version,
        outcome,
        {name: value for name, value in fields.items() if name not in TripEvent.model_fields and value is not None},
    )


def _fields(record: Record) -> dict[str, object]:
    try:
        value = decode_value(record.value or b"{}")
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


def _revision(record: Record) -> TripRevision:
    fields = decode_value(record.value or b"{}")
    missing = tuple(fields.pop("missing", ()))
    return TripRevision(fields.get("revision", 0), record.offset, missing, fields)
