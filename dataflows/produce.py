"""Trips -> events -> topic: the dataflow `trip-event-producer`.

CHILLFLOW_INPUT=trips.parquet python -m bytewax.run dataflows.produce
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from chillflow.connectors import ensure_topics, open_database, open_log
from chillflow.connectors.sink import AtLeastOnceSink
from chillflow.errors import InputError
from chillflow.model.messages import Message, MessageColumns
from chillflow.model.topics import TopicNames
from chillflow.production.disorder import Disorder
from chillflow.production.event_frames import event_frames
from chillflow.production.parquet import ParquetTrips
from chillflow.production.read_ahead import ahead
from chillflow.production.rejected import dead_letters
from chillflow.production.replay import Replayed, ReplayStats, replay_columns, replay_singly
from chillflow.production.replay_source import Batch, Pace, ReplaySource
from chillflow.production.screening import Screen
from chillflow.production.splitting import Events, encode_events
from chillflow.production.table_trips import TableTrips
from chillflow.production.trip_frames import TripSource
from chillflow.running.bytewax_run import BytewaxRun
from chillflow.running.stopping import Drain
from chillflow.settings import Settings

FLOW_ID = "trip-event-producer"
DATABASE = "db"
"""The input that means `stg.complete_trip`; any other is the path of a Parquet file."""

Keyed: TypeAlias = tuple[str, Sequence[Message] | MessageColumns]
"""Messages, keyed by FLOW_ID for the sink."""


@dataclass(frozen=True)
class Selection:
    """The trips to replay; `since`, `until` and `trip_key` apply to the database only."""

    limit: int | None = None
    trip_key: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def trip_source(settings: Settings, source: str | None, selection: Selection) -> TripSource:
    """The trips of DATABASE, or of the file with this path. Raises InputError or DatabaseError."""
    if not source:
        raise InputError(f"no input: set CHILLFLOW_INPUT to the path of a parquet file, or to `{DATABASE}`")
    if source != DATABASE:
        return ParquetTrips(Path(source), settings.source_time_zone)
    batches = open_database(settings).trips(
        trip_key=selection.trip_key, since=selection.since, until=selection.until, limit=selection.limit
    )
    first = next(batches, None)
    if first is None and selection.trip_key is not None:
        raise InputError(f"no trip {selection.trip_key!r} in stg.complete_trip")
    return TableTrips(chain(() if first is None else (first,), batches))


def replay_source(
    settings: Settings,
    trips: TripSource,
    drain: Drain,
    *,
    limit: int | None = None,
    pace: Pace | None = None,
    disorder: Disorder | None = None,
    progress: Callable[[ReplayStats], None] = lambda stats: None,
) -> ReplaySource:
    """The Bytewax source that replays the trips until `drain` requests a stop.

    Events come in columns, which is fastest, or singly if a pace or disorder must place each of them.
    """
    screen = Screen(datetime.now(UTC), settings.max_future_skew, settings.incomplete_horizon)
    stats = ReplayStats()
    pace = pace or Pace()

    def replayed() -> Iterator[Replayed | Events]:
        events = ahead(event_frames(trips.frames(), screen, origin=trips.origin, limit=limit))
        if pace or disorder:
            return replay_singly(events, disorder.apply if disorder else iter, stats)
        return replay_columns(events)

    return ReplaySource(replayed, pace, stats, progress=progress, stopping=drain.requested)


def topic_sink(
    settings: Settings, delivered: Callable[[Mapping[str, int]], None] = lambda counts: None
) -> AtLeastOnceSink:
    """The sink for events and dead letters; creates missing topics. Raises KafkaError."""
    log = open_log(settings)
    ensure_topics(log, settings, TopicNames.of(settings).dead_letters)
    return AtLeastOnceSink(log, FLOW_ID, on_delivered=delivered)


def build(trips: Source[Batch], topics: Sink[Any], settings: Settings) -> Dataflow:
    """The flow from a source of batches to a sink of `Keyed` messages."""

    def split(batch: Batch) -> Keyed:
        if isinstance(batch, Events):
            return FLOW_ID, encode_events(batch, settings.topic)
        return FLOW_ID, dead_letters(batch, TopicNames.of(settings).dead_letters)

    flow = Dataflow(FLOW_ID)
    batches = op.input("read_trips", flow, trips)
    messages = op.map("split_trips", batches, split)
    op.output("write_topics", messages, topics)
    return flow


def __getattr__(name: str) -> Dataflow:
    """`flow`, built from the settings when `python -m bytewax.run` imports it."""
    if name != "flow":
        raise AttributeError(name)
    process = BytewaxRun()
    settings = process.settings
    trips = trip_source(settings, process.arguments.input, Selection())
    return build(replay_source(settings, trips, process.drain), topic_sink(settings), settings)
