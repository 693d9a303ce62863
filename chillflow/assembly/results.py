"""Results of assembly as messages for topics and rows for tables. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from chillflow.assembly.trip_state import Result
from chillflow.assembly.windows import Window, share_of, to_time
from chillflow.keyed.batches import Record
from chillflow.keyed.outcomes import DeadRecord
from chillflow.keyed.placement import partition_name
from chillflow.keyed.timed import timed_like
from chillflow.model.codec import encode_value, time_text
from chillflow.model.measures import Change, WindowValues, ZoneWindowStruct, dollars
from chillflow.model.messages import Message, dead_letter
from chillflow.model.structs import as_dict
from chillflow.model.table_rows import (
    COMPLETE_TRIP,
    INCOMPLETE_TRIP,
    ZONE_WINDOW,
    Retire,
    Rows,
    UnfitError,
    incomplete_row,
    refusal,
    to_table_row,
    window_row,
)
from chillflow.model.topics import TopicNames
from chillflow.model.trips import milliseconds
from chillflow.model.zones import zones

__all__ = ["Checked", "Outputs", "window_message", "zone_window"]

KeyedMessages: TypeAlias = tuple[str, list[Message]]
"""Messages, keyed by the partition whose sink writes them."""


class Checked(NamedTuple):
    """Results as table rows, and those that their table cannot hold."""

    rows: Rows
    refused: list[Message]
    """Dead letters of the stage `write`."""


class Outputs:
    """Maps results to messages and rows; input and output are keyed by partition."""

    def __init__(self, topics: TopicNames, partitions: int, window_retention: timedelta | None = None) -> None:
        """`window_retention` is how long windows stay in their table; None keeps them all."""
        self._topics = topics
        self._partitions = partitions
        self._retention = window_retention

    def trips(self, item: tuple[str, list[Result]]) -> KeyedMessages:
        """Complete and incomplete trips for their topics."""
        partition, results = item
        topic = self._topics.complete
        messages = [
            Message(topic, result.trip.trip_key.encode(), encode_value(result.trip), result.dropoff)
            if not result.missing
            else self._incomplete(result)
            for result in results
        ]
        return partition, timed_like(results, messages)

    def late(self, item: tuple[str, list[Record]]) -> KeyedMessages:
        """Late events as they were read, with topic, partition and offset in headers."""
        partition, records = item
        return partition, [
            Message(
                self._topics.late,
                record.key,
                record.value,
                record.timestamp,
                (*(record.headers or ()), *_position(self._topics.events, partition, record)),
            )
            for record in records
        ]

    def undecodable(self, item: tuple[str, list[DeadRecord]]) -> KeyedMessages:
        """Dead letters of the stage `decode`."""
        partition, letters = item
        return partition, [
            dead_letter(
                self._topics.dead_letters,
                "decode",
                reason,
                key=record.key,
                value=record.value,
                headers=record.headers or (),
                timestamp=record.timestamp,
                topic=self._topics.events,
                partition=int(partition),
                offset=record.offset,
            )
            for record, reason in letters
        ]

    def checked(self, item: tuple[str, list[Result]]) -> tuple[str, Checked]:
        """Trips as table rows, and dead letters for those that their table cannot hold."""
        partition, results = item
        rows: Rows = {COMPLETE_TRIP: [], INCOMPLETE_TRIP: []}
        letters = []
        incomplete: Result | None
        for result in results:
            if result.missing:
                incomplete, reason = result, refusal(result.trip)
            else:
                incomplete, reason = result.last_incomplete, None
                try:
                    rows[COMPLETE_TRIP].append(to_table_row(result.trip, "stream"))
                except UnfitError as error:
                    reason = str(error)
            if reason:
                letters.append(self._refused(result, reason))
            elif incomplete is not None:
                row = incomplete_row(
                    incomplete.trip,
                    incomplete.missing,
                    revision=result.trip.revision,
                    is_completed=not result.missing,
                )
                rows[INCOMPLETE_TRIP].append(row)
        return partition, Checked({table: some for table, some in rows.items() if some}, letters)

    def changes(self, item: tuple[str, list[Result]]) -> tuple[str, list[Change]]:
        """The changes to windows."""
        partition, results = item
        return partition, [change for result in results for change in result.changes]

    def windows(self, item: tuple[str, list[Window]]) -> tuple[str, list[WindowValues]]:
        """Windows as ZoneWindow structs, keyed by the partition that their share of the zones goes to."""
        shard, windows = item
        return partition_name(share_of(shard) % self._partitions), [zone_window(window) for window in windows]

    def window_messages(self, item: tuple[str, list[WindowValues]]) -> KeyedMessages:
        """Windows for their topic."""
        partition, windows = item
        return partition, [window_message(self._topics.windows, window) for window in windows]

    def window_rows(self, item: tuple[str, list[WindowValues]]) -> tuple[str, Rows]:
        """Windows for their table."""
        partition, windows = item
        return partition, {ZONE_WINDOW: [window_row(window) for window in windows]}

    def retire(self, passed: int) -> list[tuple[str, Retire]]:
        """The windows to delete from their table once all partitions have passed this watermark (ms)."""
        return [(partition_name(0), Retire(to_time(passed) - self._retention))] if self._retention else []

    def _refused(self, result: Result, reason: str) -> Message:
        return dead_letter(
            self._topics.dead_letters,
            "write",
            reason,
            key=result.trip.trip_key.encode(),
            value=encode_value(result.trip),
            trip_key=result.trip.trip_key,
            revision=result.trip.revision,
        )

    def _incomplete(self, result: Result) -> Message:
        trip = result.trip
        fields = {name: value for name, value in as_dict(trip).items() if value is not None}
        time: datetime | None = trip.dropoff_ts or trip.pickup_ts
        value = encode_value({**fields, "missing": result.missing})
        return Message(
            self._topics.incomplete, trip.trip_key.encode(), value, None if time is None else milliseconds(time)
        )


def window_message(topic: str, window: WindowValues) -> Message:
    """The message of a window; a later one of the same key replaces it."""
    suffix, end = _key_suffix(window.window_start, window.window_end, window.window_minutes)
    return Message(topic, b"%d%b" % (window.pu_zone_id, suffix), encode_value(window), end)


@lru_cache(4096)
def _key_suffix(start: datetime, end: datetime, minutes: int) -> tuple[bytes, int]:
    """The part of a window's message key after the zone, and its end in ms."""
    return f"|{minutes}|{time_text(start)}".encode(), milliseconds(end)


def zone_window(window: Window) -> WindowValues:
    """A window as a ZoneWindow struct."""
    return ZoneWindowStruct(
        window.zone_id,
        *_zone(window.zone_id),
        *_bounds(window.start, window.length),
        *dollars(window.measures),
        window.final,
        window.changes,
    )


@lru_cache(4096)
def _bounds(start: int, length: int) -> tuple[datetime, datetime, int]:
    """The start of a window, its end and its length in minutes."""
    return to_time(start), to_time(start + length), length // 60_000


@lru_cache(4096)
def _zone(number: int) -> tuple[str | None, str | None]:
    """The name of a zone, and its borough."""
    zone = zones()[number - 1] if 0 < number <= len(zones()) else None
    return (zone.name, zone.borough) if zone else (None, None)


def _position(topic: str, partition: str, record: Record) -> tuple[tuple[str, bytes], ...]:
    return (
        ("topic", topic.encode()),
        ("partition", b"%d" % int(partition)),
        ("offset", b"%d" % record.offset),
    )
