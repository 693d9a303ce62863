"""Checks that the demo's output equals its input, computed independently of the pipeline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import polars as pl

from chillflow.connectors import open_database, open_log
from chillflow.connectors.log import Log, records_until_end
from chillflow.model.events import EVENT_TYPES
from chillflow.model.table_rows import MONEY
from chillflow.model.topics import TopicNames
from chillflow.operation.assembling import Assembled
from chillflow.operation.dead_letters import letters
from chillflow.operation.producing import Produced
from chillflow.production.disorder import DisorderStats
from chillflow.production.parquet import ParquetTrips
from chillflow.production.screening import Screen
from chillflow.production.table_trips import TableTrips
from chillflow.production.trip_frames import ROW_FIELDS, TripRow, TripSource, rows
from chillflow.settings import Settings

__all__ = ["Check", "DemoOutcome", "check", "outcome"]

T = TypeVar("T")
_NEEDED = ("trip_started", "payment_processed", "trip_ended")
"""The event types without which a trip is not complete."""
_KEY, _TOTAL = ROW_FIELDS.index("trip_key"), ROW_FIELDS.index("total_amount")
_MONEY = tuple(map(ROW_FIELDS.index, MONEY))


class Check(NamedTuple):
    """Two numbers that must be equal."""

    name: str
    expected: float
    found: float

    @property
    def is_ok(self) -> bool:
        """Whether they are equal."""
        return self.expected == self.found


class _Event(msgspec.Struct):
    event_type: str


class _Incomplete(msgspec.Struct):
    missing: tuple[str, ...]


class DemoOutcome(NamedTuple):
    """The content of the topics after a run, by trip key."""

    sent: Mapping[bytes, Collection[str]]
    """Event types in the topic of the events."""
    missing: Mapping[bytes, Collection[str]]
    """Missing event types of the incomplete trips."""
    refused: int
    """Number of trips that the table refused."""


def outcome(settings: Settings) -> DemoOutcome:
    """Read the topics of events, incomplete trips and dead letters."""
    log = open_log(settings)
    sent: defaultdict[bytes, set[str]] = defaultdict(set)
    for key, event in _messages(log, settings.topic, _Event):
        sent[key].add(event.event_type)
    missing = {key: trip.missing for key, trip in _messages(log, settings.incomplete_topic, _Incomplete)}
    for key, _ in _messages(log, settings.complete_topic, msgspec.Raw):
        missing.pop(key, None)  # its events arrived after all
    refused = sum(letter.stage == "write" for letter in letters(log, TopicNames.of(settings).dead_letters))
    return DemoOutcome(sent, missing, refused)


def _messages(log: Log, topic: str, kind: type[T]) -> Iterator[tuple[bytes, T]]:
    """Key and value of each message."""
    decode = msgspec.json.Decoder(kind).decode
    for partition in range(log.partitions(topic)):
        with closing(log.reader(topic, partition, None, group=None)) as reader:
            for records in records_until_end(reader):
                for record in records:
                    yield record.key or b"", decode(record.value or b"")


def check(settings: Settings, source: Path, produced: Produced, assembled: Assembled, seen: DemoOutcome) -> list[Check]:
    """The checks of a run over the trips of `source`."""
    disorder = produced.disorder or DisorderStats()
    made = len(EVENT_TYPES) * produced.trips + disorder.duplicated - disorder.dropped
    missing = {key: {*EVENT_TYPES} - {*sent} for key, sent in seen.sent.items() if not {*sent}.issuperset(_NEEDED)}
    wrong = sum({*seen.missing.get(key, ())} != types for key, types in missing.items())
    with closing(open_database(settings)) as database:
        stored = _by_key(TableTrips(database.trips(trip_key=None, since=None, until=None, limit=None)))
    screen = Screen(datetime.now(UTC), settings.max_future_skew, settings.incomplete_horizon)
    replayed = screen.refusal().is_null() & pl.col("trip_key").is_in([*stored])
    given = _by_key(ParquetTrips(source, settings.source_time_zone), replayed)
    changed = sum(key not in given or _rounded(given[key]) != _rounded(row) for key, row in stored.items())
    account = assembled.account
    complete = account["complete_trips"]
    return [
        Check("events made, events sent", made, produced.delivered),
        Check("events sent, events read", produced.delivered, account["events"]),
        Check("events unaccounted for", 0, assembled.difference),
        Check("trips sent, complete + incomplete", produced.trips, complete + len(seen.missing)),
        Check("trips with needed events, complete", len(seen.sent) - len(missing), complete),
        Check("complete trips, rows in their table", complete - seen.refused, len(stored)),
        Check("rows that differ from their source", 0, changed),
        Check("incomplete with wrong missing events", 0, wrong),
        Check("dollars in, dollars out", _dollars(given.values()), _dollars(stored.values())),
    ]


def _by_key(trips: TripSource, which: pl.Expr | bool = True) -> dict[str, TripRow]:
    frames = (item for item in trips.frames() if isinstance(item, pl.DataFrame))
    return {row[_KEY]: row for frame in frames for row in rows(frame.filter(which))}


def _rounded(row: TripRow) -> list[object]:
    """The row with money to the cent, as in the table."""
    values = [*row]
    for position in _MONEY:
        if values[position] is not None:
            values[position] = round(values[position], 2)
    return values


def _dollars(rows: Iterable[TripRow]) -> float:
    return sum(round((row[_TOTAL] or 0) * 100) for row in rows) / 100
