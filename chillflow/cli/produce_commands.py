"""The commands `produce-from-file`, `produce-events` and `generate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chillflow.cli.command import DATABASE, KAFKA, add_command
from chillflow.cli.shared_options import AsJson, TripKey, TripsFile, parse_time
from chillflow.errors import SettingsError
from chillflow.settings import Settings

if TYPE_CHECKING:
    from chillflow.operation.producing import Order, Produced
    from chillflow.production.disorder import Disorder
    from chillflow.production.replay import ReplayStats

__all__ = ["register"]

_GROUP = "Produce"
_DISORDER = "Disorder"
_USES = (
    *KAFKA,
    "topic",
    "create_topics",
    "partitions",
    "replication_factor",
    "source_time_zone",
    "max_future_skew",
    "incomplete_horizon",
    "trip_timeout",
    "correction_horizon",
)

Limit = Annotated[int | None, typer.Option(min=0, help="at most this many trips")]
Speed = Annotated[
    float | None,
    typer.Option(min=0.001, help="replay at this multiple of real time: 60 is an hour per minute"),
]
Rate = Annotated[float | None, typer.Option(min=0.001, help="send this many events per second")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print the events as JSON lines, send nothing")]
Shuffle = Annotated[
    float,
    typer.Option(min=0, help="delay each event by a random event time, at most this", rich_help_panel=_DISORDER),
]
Duplicates = Annotated[float, typer.Option(min=0, max=1, help="share of events sent twice", rich_help_panel=_DISORDER)]
Drop = Annotated[float, typer.Option(min=0, max=1, help="share of events dropped", rich_help_panel=_DISORDER)]
Late = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="share of events sent only after their trip has timed out",
        rich_help_panel=_DISORDER,
    ),
]
Seed = Annotated[int, typer.Option(help="the same seed gives the same disorder", rich_help_panel=_DISORDER)]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add_command(app, "produce-from-file", _produce_from_file, group=_GROUP, uses=_USES)
    add_command(app, "produce-events", _produce_events, group=_GROUP, uses=(*_USES, *DATABASE))
    add_command(app, "generate", _generate, group=_GROUP)


def _produce_from_file(
    settings: Settings,
    file: TripsFile,
    limit: Limit = None,
    speed: Speed = None,
    rate: Rate = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    shuffle_seconds: Shuffle = 0,
    duplicates: Duplicates = 0,
    drop: Drop = 0,
    late: Late = 0,
    seed: Seed = 0,
) -> None:
    """Produce the events of the trips in a parquet file, in event-time order.

    Example: chillflow-stream produce-from-file --file data/trips.parquet --speed 60
    """
    from chillflow.operation.producing import Order, Selection
    from chillflow.production.replay_source import Pace

    disorder = _disorder(settings, shuffle_seconds, duplicates, drop, late, seed)
    order = Order(str(file), Selection(limit=limit), Pace(speed, rate), disorder)
    _produce(settings, order, dry_run=dry_run, as_json=as_json)


def _produce_events(
    settings: Settings,
    limit: Limit = None,
    trip_key: TripKey = None,
    since: Annotated[str | None, typer.Option(help="only pickups from this time on, like 2024-01-31T12:00")] = None,
    until: Annotated[str | None, typer.Option(help="only pickups before this time")] = None,
    speed: Speed = None,
    rate: Rate = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    shuffle_seconds: Shuffle = 0,
    duplicates: Duplicates = 0,
    drop: Drop = 0,
    late: Late = 0,
    seed: Seed = 0,
) -> None:
    """Produce the events of the trips in the database (stg.complete_trip), oldest pickup first.

    Example: chillflow-stream produce-events --limit 100
    """
    from chillflow.operation.producing import TABLE, Order, Selection
    from chillflow.production.replay_source import Pace

    zone = settings.source_time_zone
    selection = Selection(
        limit,
        trip_key,
        parse_time("--since", since, zone) if since is not None else None,
        parse_time("--until", until, zone) if until is not None else None,
    )
    disorder = _disorder(settings, shuffle_seconds, duplicates, drop, late, seed)
    order = Order(TABLE, selection, Pace(speed, rate), disorder)
    _produce(settings, order, dry_run=dry_run, as_json=as_json)


def _generate(
    settings: Settings,
    trips: Annotated[int, typer.Option(min=1, help="number of trips")] = 10_000,
    seed: Annotated[int, typer.Option(help="the same seed gives the same trips")] = 1,
    out: Annotated[Path, typer.Option(help="parquet file to write")] = Path("data/trips.parquet"),
    start: Annotated[str, typer.Option(help="first day of pickups")] = "2024-01-01",
    days: Annotated[int | None, typer.Option(min=1, help="number of days (default: one per 100,000 trips)")] = None,
    service: Annotated[str, typer.Option(help="`yellow` or `green`")] = "yellow",
) -> None:
    """Generate realistic taxi trips in TLC's schema.

    Example: chillflow-stream generate --trips 10000 --seed 1 --out data/trips.parquet
    """
    from chillflow.synthetic.trip_generator import generate

    if service not in ("yellow", "green"):
        raise SettingsError(f"--service {service}: expected yellow or green")
    try:
        first = date.fromisoformat(start)
    except ValueError as error:
        raise SettingsError(f"--start {start}: {error}") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    generate(out, trips, seed=seed, start=first, days=days, service="green" if service == "green" else "yellow")
    typer.echo(f"wrote {trips:,} trips to {out}", err=True)


def _produce(settings: Settings, order: Order, *, dry_run: bool, as_json: bool) -> None:
    """Produce the events and print the result."""
    from chillflow.operation.producing import produce

    produced = produce(settings, order, dry_run=dry_run, progress=_progress)
    _report(produced, settings.topic, dry_run=dry_run)
    if as_json:
        summary: dict[str, object] = {
            "trips": produced.trips,
            "events": produced.events,
            "delivered": produced.delivered,
            "rejected": produced.rejected,
            "seconds": round(produced.seconds, 3),
        }
        if produced.disorder is not None:
            summary["disorder"] = asdict(produced.disorder)
        typer.echo(json.dumps(summary))


def _report(produced: Produced, topic: str, *, dry_run: bool) -> None:
    """Print the result for people, on stderr."""
    typer.echo(
        f"{produced.trips:,} trips, {produced.events:,} events to {'nowhere (dry run)' if dry_run else topic},"
        f" {produced.delivered:,} delivered, {produced.rejected:,} rows rejected, {produced.seconds:.1f} s",
        err=True,
    )
    if produced.disorder is not None:
        counts = ", ".join(f"{count:,} {name}" for name, count in asdict(produced.disorder).items())
        typer.echo(f"disorder: {counts}", err=True)
    if produced.ambiguous_times or produced.missing_times:
        typer.echo(
            f"{produced.ambiguous_times:,} times lie in the hour that occurs twice (taken as its first occurrence),"
            f" {produced.missing_times:,} in the hour that is skipped",
            err=True,
        )
    if produced.is_behind:
        typer.echo(
            f"warning: {topic} already has later events: where its watermark is ahead by more than"
            " the correction horizon, events of dropped trips count as late",
            err=True,
        )


def _disorder(
    settings: Settings, shuffle_seconds: float, duplicates: float, drop: float, late: float, seed: int
) -> Disorder:
    from chillflow.production.disorder import Disorder

    return Disorder(timedelta(seconds=shuffle_seconds), duplicates, drop, late, seed, settings.trip_timeout)


def _progress(total: int | None) -> AbstractContextManager[Callable[[ReplayStats], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return nullcontext(lambda stats: None)
    from chillflow.cli.progress_bar import progress_bar

    return progress_bar(total)
