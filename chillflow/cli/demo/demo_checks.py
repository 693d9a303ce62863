"""Whether what came out of the demonstration is what went in, found by other ways than that of the pipeline."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from chillflow.connectors import open_database, open_log
from chillflow.connectors.log import Log
from chillflow.model.events import EVENT_TYPES
from chillflow.model.table_rows import MONEY
from chillflow.model.topics import TopicNames
from chillflow.operation.assembling import Assembled
from chillflow.operation.dead_letters import letters
from chillflow.operation.producing import Produced
from chillflow.production.disorder import DisorderStats
from chillflow.production.parquet import ParquetTrips
from chillflow.production.replay import RejectedRow, Screen
from chillflow.production.splitting import ROW_FIELDS, TripRow
from chillflow.settings import Settings

__all__ = ["Check", "DemoOutcome", "check", "outcome"]

_NEEDED = ("trip_started", "payment_processed", "trip_ended")
"""The event types without which a trip is not complete."""
_KEY, _TOTAL = ROW_FIELDS.index("trip_key"), ROW_FIELDS.index("total_amount")
_MONEY = tuple(map(ROW_FIELDS.index, MONEY))


class Check(NamedTuple):
    """Two numbers that should be one."""

    name: str
    expected: float
    found: float


class _Event(msgspec.Struct):
    event_type: str


class _Incomplete(msgspec.Struct):
    missing: tuple[str, ...]


class DemoOutcome(NamedTuple):
    """What lies in the topics."""

    kinds: Mapping[bytes, Collection[str]]
    """The event types that came of each trip."""
    missing: Mapping[bytes, Collection[str]]
    """What each incomplete trip lacks."""
    refused: int
    """Trips that their table could not hold."""

    @property
    def gaps(self) -> Counter[str]:
        """How many incomplete trips lack an event, by its type."""
        return Counter(kind for kinds in self.missing.values() for kind in kinds)


def outcome(settings: Settings) -> DemoOutcome:
    """Read the topics of events, incomplete trips and dead letters."""
    log = open_log(settings)
    kinds: defaultdict[bytes, set[str]] = defaultdict(set)
    for key, event in _messages(log, settings.topic, _Event):
        kinds[key].add(event.event_type)
    lacks = {key: trip.missing for key, trip in _messages(log, settings.incomplete_topic, _Incomplete)}
    for key, _ in _messages(log, settings.complete_topic, msgspec.Raw):
        lacks.pop(key, None)  # the rest came after all
    refused = sum(letter.stage == "write" for letter in letters(log, TopicNames.of(settings).dead_letters))
    return DemoOutcome(kinds, lacks, refused)


def _messages(log: Log, topic: str, form: Any) -> Iterable[tuple[bytes, Any]]:
    decode = msgspec.json.Decoder(form).decode
    for partition in range(log.partitions(topic)):
        with closing(log.reader(topic, partition, None, group=None)) as reader:
            while records := reader.read(5_000):
                for record in records:
                    yield record.key or b"", decode(record.value or b"")


def check(settings: Settings, source: Path, produced: Produced, assembled: Assembled, seen: DemoOutcome) -> list[Check]:
    """All checks of a run over the trips of `source`."""
    disorder = produced.disorder or DisorderStats()
    made = len(EVENT_TYPES) * produced.trips + disorder.duplicated - disorder.dropped
    lacks = {key: {*EVENT_TYPES} - {*kinds} for key, kinds in seen.kinds.items() if not {*kinds}.issuperset(_NEEDED)}
    other = sum({*seen.missing.get(key, ())} != kinds for key, kinds in lacks.items())
    with closing(open_database(settings)) as database:
        stored = {row[_KEY]: row for row in database.trips(trip_key=None, since=None, until=None, limit=None)}
    given = _given(settings, source, stored)
    changed = sum(key not in given or _rounded(given[key]) != _rounded(row) for key, row in stored.items())
    account = assembled.account
    complete = account["complete_trips"]
    return [
        Check("events made, events sent", made, produced.delivered),
        Check("events sent, events read", produced.delivered, account["events"]),
        Check("events unaccounted for", 0, assembled.difference),
        Check("trips sent, complete + incomplete", produced.trips, complete + len(seen.missing)),
        Check("trips with all they need, complete", len(seen.kinds) - len(lacks), complete),
        Check("complete trips, rows in their table", complete - seen.refused, len(stored)),
        Check("rows that differ from their source", 0, changed),
        Check("incomplete for another reason", 0, other),
        Check("dollars of these in, dollars out", _dollars(given.values()), _dollars(stored.values())),
    ]


def _given(settings: Settings, source: Path, keys: Mapping[str, TripRow]) -> dict[str, TripRow]:
    """The rows of the source with these keys."""
    screen = Screen(datetime.now(UTC), settings.max_future_skew, settings.incomplete_horizon)
    rows = ParquetTrips(source, settings.source_time_zone)
    return {
        row[_KEY]: row
        for row in rows
        if not isinstance(row, RejectedRow) and row[_KEY] in keys and not screen.reason(row)
    }


def _rounded(row: TripRow) -> list[Any]:
    """The row with money as a table holds it: to the cent."""
    values = [*row]
    for position in _MONEY:
        if values[position] is not None:
            values[position] = round(values[position], 2)
    return values


def _dollars(rows: Iterable[TripRow]) -> float:
    return sum(round((row[_TOTAL] or 0) * 100) for row in rows) / 100
