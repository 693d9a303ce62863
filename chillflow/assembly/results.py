"""What assembly's results are in topics and tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from chillflow.assembly.trip_state import Result
from chillflow.assembly.windows import Window, group_of_unit, to_time
from chillflow.keyed.batches import Record
from chillflow.keyed.outcomes import DeadRecord as DeadRecord
from chillflow.keyed.placement import partition_name
from chillflow.keyed.timed import made_of
from chillflow.model.codec import encode_value, time_text
from chillflow.model.measures import Change, ZoneWindowStruct
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

__all__ = ["Checked", "Outputs", "described", "window_message"]

KeyedMessages = tuple[str, list[Message]]


class Checked(NamedTuple):
    """Results looked at once, for both of their ways."""

    rows: Rows
    """Rows of the tables."""
    refused: list[Message]
    """DeadRecord letters of the stage `write`: trips that their table cannot hold."""


class Outputs:
    """Turns results into messages and rows; items come and go keyed by partition."""

    def __init__(self, topics: TopicNames, partitions: int, window_retention: timedelta | None = None) -> None:
        self._topics = topics
        self._partitions = partitions
        self._retention = window_retention

    def trips(self, item: tuple[str, list[Result]]) -> KeyedMessages:
        """Complete and incomplete trips, each for its topic."""
        partition, results = item
        topic = self._topics.complete
        messages = [
            Message(topic, result.trip.trip_key.encode(), encode_value(result.trip), result.at)
            if not result.missing
            else self._incomplete(result)
            for result in results
        ]
        return partition, made_of(results, messages)

    def late(self, item: tuple[str, list[Record]]) -> KeyedMessages:
        """Late events as they were read; headers say where that was."""
        partition, records = item
        return partition, [
            Message(
                self._topics.late,
                record.key,
                record.value,
                record.timestamp,
                (*(record.headers or ()), *_where(self._topics.events, partition, record)),
            )
            for record in records
        ]

    def undecodable(self, item: tuple[str, list[DeadRecord]]) -> KeyedMessages:
        """DeadRecord letters of the stage `decode`."""
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
        """What the tables are given of some results, and what they cannot hold."""
        partition, results = item
        rows: Rows = {COMPLETE_TRIP: [], INCOMPLETE_TRIP: []}
        letters = []
        for result in results:
            if result.missing:
                reason = refusal(result.trip)
            else:
                try:
                    rows[COMPLETE_TRIP].append(to_table_row(result.trip, "stream"))
                    reason = None
                except UnfitError as error:
                    reason = str(error)
            if reason:
                letters.append(self._refused(result, reason))
                continue
            if (incomplete := result if result.missing else result.was) is not None:
                row = incomplete_row(
                    incomplete.trip,
                    incomplete.missing,
                    revision=result.trip.revision,
                    is_completed=not result.missing,
                )
                rows[INCOMPLETE_TRIP].append(row)
        return partition, Checked({table: some for table, some in rows.items() if some}, letters)

    def changes(self, item: tuple[str, list[Result]]) -> tuple[str, list[Change]]:
        """What some results change in the windows."""
        partition, results = item
        return partition, [change for result in results for change in result.changes]

    def windows(self, item: tuple[str, list[Window]]) -> tuple[str, list[Any]]:
        """Windows as ZoneWindow has them, by the partition number whose writer is theirs: by share of the zones."""
        unit, windows = item
        return partition_name(group_of_unit(unit) % self._partitions), [described(window) for window in windows]

    def window_messages(self, item: tuple[str, list[Any]]) -> KeyedMessages:
        """Windows for their topic."""
        partition, windows = item
        return partition, [window_message(self._topics.windows, window) for window in windows]

    def window_rows(self, item: tuple[str, list[Any]]) -> tuple[str, Rows]:
        """Windows for their table."""
        partition, windows = item
        return partition, {ZONE_WINDOW: [window_row(window) for window in windows]}

    def retire(self, passed: int) -> list[tuple[str, Retire]]:
        """Which windows go from the table when all partitions have passed this stream time."""
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
        times: Iterable[datetime] = (fields[name] for name in ("dropoff_ts", "pickup_ts") if name in fields)
        value = encode_value({**fields, "missing": result.missing})
        return Message(self._topics.incomplete, trip.trip_key.encode(), value, next(map(milliseconds, times), None))


def window_message(topic: str, window: Any) -> Message:
    """A ZoneWindow for its topic."""
    name, end = _name(window.window_start, window.window_end, window.window_minutes)
    return Message(topic, b"%d%b" % (window.pu_zone_id, name), encode_value(window), end)


@lru_cache(4096)  # all zones have the same ones
def _name(start: datetime, end: datetime, minutes: int) -> tuple[bytes, int]:
    """What comes after the zone in a window's key, and when it ends, in ms."""
    return f"|{minutes}|{time_text(start)}".encode(), milliseconds(end)


def described(window: Window) -> Any:
    """A window as ZoneWindow has it."""
    trips, timed, card, cash, total, fare, tip, metres, seconds = window.figures
    return ZoneWindowStruct(
        window.zone_id,
        *_zone(window.zone_id),
        *_frame(window.start, window.length),
        trips,
        timed,
        card,
        cash,
        total / 100,
        fare / 100,
        tip / 100,
        metres,
        seconds,
        window.final,
        window.changes,
    )


@lru_cache(4096)
def _frame(start: int, length: int) -> tuple[datetime, datetime, int]:
    """The beginning of a window, its end, and its minutes."""
    return to_time(start), to_time(start + length), length // 60_000


@lru_cache(4096)
def _zone(number: int) -> tuple[str | None, str | None]:
    """The name of a zone and its borough."""
    zone = zones()[number - 1] if 0 < number <= len(zones()) else None
    return (zone.name, zone.borough) if zone else (None, None)


def _where(topic: str, partition: str, record: Record) -> tuple[tuple[str, bytes], ...]:
    return (
        ("topic", topic.encode()),
        ("partition", b"%d" % int(partition)),
        ("offset", b"%d" % record.offset),
    )
