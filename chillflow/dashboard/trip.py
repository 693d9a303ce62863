"""One trip: its events as they came, found without reading the whole topic, and what was made of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from chillflow.connectors.log import Log, LogRecord
from chillflow.dashboard.database import Reader, Statement
from chillflow.errors import DecodeError, KafkaUnavailableError, UnknownTopicError
from chillflow.keyed.watermark import WatermarkTracker
from chillflow.model.codec import decode_keyed, decode_value
from chillflow.model.events import DecodedEvent
from chillflow.model.trips import milliseconds
from chillflow.settings import Settings

__all__ = ["LIMIT", "Arrived", "Found", "Revision", "look_up"]

LIMIT = 200_000
"""Messages that are read of a partition at most."""
_BATCH = 5_000
_PATIENCE = 10.0
_MILLISECOND = timedelta(milliseconds=1)
_TIMES: Statement = """
    select pickup_ts, dropoff_ts from stg.complete_trip where trip_key = %(key)s
    union all
    select pickup_ts, dropoff_ts from stg.incomplete_trip where trip_key = %(key)s
"""


class Arrived(NamedTuple):
    """A message of the trip, as it came."""

    offset: int
    timestamp: datetime | None
    """Kafka's: the event time, as our producers write it."""
    event_type: str
    event_time: datetime | None
    version: int | None
    role: str
    """What became of it: `counts`, `the same again`, `superseded`, or why it is no event."""
    fields: dict[str, Any]
    """What it says besides."""


class Revision(NamedTuple):
    """The trip as it was sent on."""

    number: int
    offset: int
    missing: tuple[str, ...]
    """What it lacks, if it is incomplete."""
    fields: dict[str, Any]


class Found(NamedTuple):
    """What there is of a trip, and where it was looked for."""

    key: str
    partition: int
    partitions: int
    first: int
    end: int
    """Offsets that were read: from `first` to before `end`."""
    read: int
    """Messages."""
    by_times: bool
    """Whether the tables know the trip's times; else its events are looked for among the newest."""
    cut: bool
    """Whether there was more to read than the limit."""
    events: list[Arrived]
    revisions: list[Revision]


def look_up(log: Log, reader: Reader, settings: Settings, key: str, *, limit: int = LIMIT) -> Found:
    """Find a trip by its key. Raises ChillFlowError.

    Its events lie in the partition of its key, none of them before the first message that is as late as its earliest
    time. They can come late: so it is read on to where the stream is a time-out past its last time.
    """
    known = [each for row in reader.rows(_TIMES, {"key": key}) for each in row if each is not None]
    partitions = log.partitions(settings.topic)
    partition = log.partition_of(key.encode(), partitions)
    timeout = settings.trip_timeout // _MILLISECOND
    if known:
        since, until = milliseconds(min(known)), milliseconds(max(known)) + timeout
    else:
        newest = log.ends(settings.topic)[partition].newest or 0
        since, until = newest - timeout, newest
    scan = _Scan(log, settings, settings.topic, partition, since, until, limit)
    events = _with_roles([record for record in scan.records() if record.key == key.encode()])
    # a result has the time of the trip's end, and a correction of it comes within its horizon
    later = until + settings.correction_horizon // _MILLISECOND
    revisions: list[Revision] = []
    for topic in (settings.complete_topic, settings.incomplete_topic):
        results = _Scan(log, settings, topic, partition, since, later, limit)
        revisions += [_revision(record) for record in results.records() if record.key == key.encode()]
    revisions.sort(key=lambda each: each.number)
    return Found(
        key, partition, partitions, scan.first, scan.position, scan.read, bool(known), scan.cut, events, revisions
    )


class _Scan:
    """Reads a partition from the first message of a time until the stream has passed another, or to the limit.

    The stream time tells that, as in assembly, and no offset by time: one message with a wrong date, and that of all
    times after it would be its own.
    """

    def __init__(
        self, log: Log, settings: Settings, topic: str, partition: int, since: int, until: int, limit: int
    ) -> None:
        self._log, self._topic, self._partition = log, topic, partition
        self._time = WatermarkTracker(settings.stream_time_rank)
        self._until = until
        self._limit = limit
        try:
            self.first = self._end = log.offset_at(topic, partition, since)
            self._end = log.end_offset(topic, partition)
        except UnknownTopicError:
            self.first = self._end = 0  # there are no results yet
        self.position = self.first
        self.read = 0
        self.cut = False

    def records(self) -> Iterator[LogRecord]:
        if self.position >= self._end:
            return
        heard = time.monotonic()
        with closing(self._log.reader(self._topic, self._partition, self.position, group=None)) as reader:
            while self.position < self._end and self._time.now <= self._until and not self.cut:
                records = reader.read(min(_BATCH, self._limit - self.read))
                if records:
                    heard = time.monotonic()
                elif reader.at_end:
                    return
                elif time.monotonic() - heard > _PATIENCE:
                    raise KafkaUnavailableError(f"nothing came of partition {self._partition} for {_PATIENCE:g} s")
                else:
                    time.sleep(0.005)
                yield from records
                for record in records:
                    if record.timestamp is not None:
                        self._time.observe(record.timestamp)
                self.read += len(records)
                self.position = reader.position
                self.cut = self.read >= self._limit and self.position < self._end


def _with_roles(records: list[LogRecord]) -> list[Arrived]:
    """The messages in the order in which they came, each with what became of it."""
    decoded: list[DecodedEvent | str] = [_decoded(record) for record in records]
    best: dict[type, tuple[int, str]] = {}
    for event in decoded:
        if not isinstance(event, str):
            best[type(event)] = max(best.get(type(event), (-1, "")), (event.event_version, event.event_id))
    seen = set[str]()
    arrived = []
    for record, event in zip(records, decoded, strict=True):
        if isinstance(event, str):
            role = f"no event: {event}"
        elif event.event_id in seen:
            role = "the same again"
        elif (event.event_version, event.event_id) < best[type(event)]:
            role = "superseded"
        else:
            role = "counts"
        seen.add("" if isinstance(event, str) else event.event_id)
        arrived.append(_arrived(record, event, role))
    return arrived


def _decoded(record: LogRecord) -> DecodedEvent | str:
    try:
        return decode_keyed(record.key, record.value)
    except DecodeError as error:
        return str(error)


_COMMON = ("event_id", "event_type", "trip_key", "event_time", "schema_version", "event_version")


def _arrived(record: LogRecord, event: DecodedEvent | str, role: str) -> Arrived:
    try:
        said = decode_value(record.value or b"{}")
    except Exception:  # whatever the bytes are
        said = {}
    fields = said if isinstance(said, dict) else {}
    return Arrived(
        record.offset,
        None if record.timestamp is None else _time(record.timestamp),
        str(fields.get("event_type", "?")),
        None if isinstance(event, str) else event.event_time,
        None if isinstance(event, str) else event.event_version,
        role,
        {name: value for name, value in fields.items() if name not in _COMMON and value is not None},
    )


def _revision(record: LogRecord) -> Revision:
    fields = decode_value(record.value or b"{}")
    missing = tuple(fields.pop("missing", ()))
    return Revision(fields.get("revision", 0), record.offset, missing, fields)


def _time(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + milliseconds * _MILLISECOND
