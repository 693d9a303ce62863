"""Trips -> events -> topic: the dataflow `trip-event-producer`.

CHILLFLOW_INPUT=trips.parquet python -m bytewax.run dataflows.produce
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from chillflow.connectors import ensure_topics, open_database, open_log
from chillflow.connectors.sink import AtLeastOnceSink
from chillflow.errors import InputError
from chillflow.model.messages import Message, MessageColumns
from chillflow.model.topics import TopicNames
from chillflow.production.bulk import replay_columns, replay_frames
from chillflow.production.disorder import Disorder
from chillflow.production.parquet import ParquetTrips
from chillflow.production.replay import RejectedRow, Replayed, ReplayStats, Screen, dead_letters, replay
from chillflow.production.replay_source import Batch, Pace, ReplaySource
from chillflow.production.splitting import Events, TripRow, encode_events
from chillflow.running.bytewax_run import BytewaxRun
from chillflow.running.stopping import Drain
from chillflow.settings import Settings

FLOW_ID = "trip-event-producer"
DATABASE = "db"
"""The input that is `stg.complete_trip`; any other is the path of a parquet file."""


@dataclass(frozen=True)
class Selection:
    """Which trips to replay; `since`, `until` and `trip_key` are for trips of the database."""

    limit: int | None = None
    trip_key: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def trips_of(settings: Settings, source: str | None, selection: Selection) -> Iterable[TripRow | RejectedRow]:
    """The trips of a source: DATABASE, or the path of a file. Raises InputError, or DatabaseError and its kind."""
    if not source:
        raise InputError(f"no input: set CHILLFLOW_INPUT to the path of a parquet file, or to `{DATABASE}`")
    if source != DATABASE:
        return ParquetTrips(Path(source), settings.source_time_zone)
    rows = open_database(settings).trips(
        trip_key=selection.trip_key, since=selection.since, until=selection.until, limit=selection.limit
    )
    first = next(rows, None)
    if first is None and selection.trip_key is not None:
        raise InputError(f"no trip {selection.trip_key!r} in stg.complete_trip")
    return chain(() if first is None else (first,), rows)


def source_of(
    settings: Settings,
    trips: Iterable[TripRow | RejectedRow],
    drain: Drain,
    *,
    limit: int | None = None,
    pace: Pace | None = None,
    disorder: Disorder | None = None,
    progress: Callable[[ReplayStats], None] = lambda stats: None,
) -> ReplaySource:
    """The source that replays these trips, until `drain` asks to stop."""
    screen = Screen(datetime.now(UTC), settings.max_future_skew, settings.incomplete_horizon)
    origin = str(trips.path) if isinstance(trips, ParquetTrips) else "stg.complete_trip"
    stats = ReplayStats()
    worse = disorder.apply if disorder else iter
    pace = pace or Pace()

    def replayed() -> Iterator[Replayed | Events]:
        if not isinstance(trips, ParquetTrips):
            return replay(trips, screen, origin=origin, limit=limit, disorder=worse, stats=stats)
        if pace or disorder:
            return replay_frames(trips.frames(), screen, origin=origin, limit=limit, disorder=worse, stats=stats)
        return replay_columns(trips.frames(), screen, origin=origin, limit=limit)

    return ReplaySource(
        replayed,
        pace,
        stats,
        progress=progress,
        stopping=drain.requested,
    )


def topics_of(
    settings: Settings, delivered: Callable[[Mapping[str, int]], None] = lambda counts: None
) -> AtLeastOnceSink:
    """The sink for the topics of the settings; makes those that are missing. Raises KafkaError and its kind."""
    log = open_log(settings)
    ensure_topics(log, settings, TopicNames.of(settings).dead_letters)
    return AtLeastOnceSink(log, FLOW_ID, delivered=delivered)


def build(trips: Source[Batch], topics: Sink[Any], settings: Settings) -> Dataflow:
    """The flow between these ends."""

    def split(batch: Batch) -> tuple[str, list[Message] | MessageColumns]:
        if isinstance(batch, Events):
            return FLOW_ID, encode_events(batch, settings.topic)
        return FLOW_ID, dead_letters(batch, TopicNames.of(settings).dead_letters)

    flow = Dataflow(FLOW_ID)
    batches = op.input("read_trips", flow, trips)
    messages = op.map("split_trips", batches, split)
    op.output("write_topics", messages, topics)
    return flow


def __getattr__(name: str) -> Any:
    """`flow`, made from the settings when `python -m bytewax.run` asks for it."""
    if name != "flow":
        raise AttributeError(name)
    process = BytewaxRun()
    settings = process.settings
    trips = trips_of(settings, process.arguments.input, Selection())
    return build(source_of(settings, trips, process.drain), topics_of(settings), settings)
