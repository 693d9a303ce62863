"""The job of `produce-from-file` and `produce-events`: replay trips as events."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from chillflow.connectors.log import newest_timestamp
from chillflow.connectors.stdout import StdoutSink
from chillflow.errors import SettingsError
from chillflow.production.disorder import Disorder, DisorderStats
from chillflow.production.parquet import ParquetTrips
from chillflow.production.replay import ReplayStats
from chillflow.production.replay_source import Pace
from chillflow.running.process_tuning import tuned_process
from chillflow.running.runner import run_flow
from chillflow.running.stopping import Drain
from chillflow.settings import Settings
from dataflows.produce import DATABASE as TABLE
from dataflows.produce import Selection, build, replay_source, topic_sink, trip_source

__all__ = ["TABLE", "Order", "Produced", "Progress", "Selection", "produce"]

Progress: TypeAlias = Callable[[int | None], AbstractContextManager[Callable[[ReplayStats], None]]]
"""From the number of trips (None if unknown) to a context manager of a function that receives the progress."""


@dataclass(frozen=True)
class Order:
    """The trips to replay, and how to replay them."""

    trips: str
    """Path of a Parquet file, or `db`."""
    selection: Selection = field(default_factory=Selection)
    pace: Pace = field(default_factory=Pace)
    disorder: Disorder | None = None


@dataclass(frozen=True)
class Produced:
    """The result of a replay."""

    trips: int
    events: int
    delivered: int
    """Events that the broker has acknowledged."""
    rejected: int
    """Rows that are no trips or cannot be replayed: dead letters."""
    seconds: float
    disorder: DisorderStats | None
    ambiguous_times: int
    """Wall times in the hour that occurs twice when summer time ends, taken as its first occurrence."""
    missing_times: int
    """Wall times in the hour that summer time skips, taken with the offset before it."""
    is_behind: bool
    """Whether the topic already held events ahead of these by more than the correction horizon: some may be late."""


def produce(
    settings: Settings,
    order: Order,
    *,
    dry_run: bool = False,
    progress: Progress = lambda total: nullcontext(lambda stats: None),
) -> Produced:
    """Run the production dataflow. With `dry_run` the events go to stdout as JSON lines. Raises ChillFlowError."""
    if order.pace.speed and order.pace.rate:
        raise SettingsError("--speed and --rate exclude each other")
    started, drain = time.monotonic(), Drain()
    delivered: Counter[str] = Counter()
    trips = trip_source(settings, order.trips, order.selection)
    limit = order.selection.limit
    sink = StdoutSink(settings.topic) if dry_run else topic_sink(settings, delivered.update)
    newest = None if isinstance(sink, StdoutSink) else newest_timestamp(sink.log, settings.topic)
    total = trips.total
    if limit is not None:
        total = min(total, limit) if total is not None else limit
    with progress(total) as show, tuned_process():
        source = replay_source(
            settings, trips, drain, limit=limit, pace=order.pace, disorder=order.disorder, progress=show
        )
        run_flow(build(source, sink, settings), epoch_interval=settings.epoch_interval, drain=drain)
    stats = source.stats
    horizon = settings.correction_horizon // timedelta(milliseconds=1)
    return Produced(
        stats.trips,
        stats.events,
        delivered[settings.topic],
        stats.rejected,
        time.monotonic() - started,
        order.disorder.stats if order.disorder else None,
        ambiguous_times=trips.ambiguous_times if isinstance(trips, ParquetTrips) else 0,
        missing_times=trips.missing_times if isinstance(trips, ParquetTrips) else 0,
        is_behind=newest is not None and stats.first is not None and stats.first // 1000 < newest - horizon,
    )
