"""produce-from-file, produce-events, generate."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from chillflow.cli.command import DATABASE, KAFKA, command
from chillflow.errors import SettingsError
from chillflow.settings import Settings

if TYPE_CHECKING:
    from chillflow.production.disorder import Disorder
    from chillflow.production.replay import ReplayStats
    from chillflow.production.replay_source import Pace
    from dataflows.produce import Selection

__all__ = ["produce", "register"]

GROUP = "Produce"
DISORDER = "A stream as bad as real ones"
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

Limit = Annotated[int | None, typer.Option(min=0, help="at most so many trips")]
Speed = Annotated[
    float | None,
    typer.Option(min=0.001, help="replay at so many times real time: 60 is an hour a minute"),
]
Rate = Annotated[float | None, typer.Option(min=0.001, help="so many events a second")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print the events as JSON lines, send nothing")]
Shuffle = Annotated[
    float, typer.Option(min=0, help="delay each event by a random event time up to this", rich_help_panel=DISORDER)
]
Duplicates = Annotated[float, typer.Option(min=0, max=1, help="share of events sent twice", rich_help_panel=DISORDER)]
Drop = Annotated[float, typer.Option(min=0, max=1, help="share of events left out", rich_help_panel=DISORDER)]
Late = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="share of events sent when the stream is past their trip's time-out",
        rich_help_panel=DISORDER,
    ),
]
Seed = Annotated[int, typer.Option(help="the same seed makes the same disorder", rich_help_panel=DISORDER)]
AsJson = Annotated[bool, typer.Option("--json", help="end with one JSON object on stdout")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""

    @command(app, "produce-from-file", group=GROUP, uses=_USES)
    def produce_from_file(
        settings: Settings,
        file: Annotated[Path, typer.Option("--file", help="parquet file of TLC trips, or an export of ours")],
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
        from chillflow.production.replay_source import Pace
        from dataflows.produce import Selection

        with_input = settings.model_copy(update={"input": str(file)})
        disorder = _disorder(settings, shuffle_seconds, duplicates, drop, late, seed)
        produce(with_input, Selection(limit=limit), Pace(speed, rate), disorder, dry_run=dry_run, as_json=as_json)

    @command(app, "produce-events", group=GROUP, uses=(*_USES, *DATABASE))
    def produce_events(
        settings: Settings,
        limit: Limit = None,
        trip_key: Annotated[str | None, typer.Option(help="only this trip")] = None,
        since: Annotated[str | None, typer.Option(help="pickups from this time on")] = None,
        until: Annotated[str | None, typer.Option(help="pickups before this time")] = None,
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
        """Produce the events of trips in the database (stg.complete_trip), oldest pickup first.

        Example: chillflow-stream produce-events --limit 100
        """
        from chillflow.production.replay_source import Pace
        from dataflows.produce import Selection

        with_input = settings.model_copy(update={"input": "db"})
        zone = settings.source_time_zone
        selection = Selection(limit, trip_key, parse_time("--since", since, zone), parse_time("--until", until, zone))
        disorder = _disorder(settings, shuffle_seconds, duplicates, drop, late, seed)
        produce(with_input, selection, Pace(speed, rate), disorder, dry_run=dry_run, as_json=as_json)

    @command(app, "generate", group=GROUP)
    def generate(
        settings: Settings,
        trips: Annotated[int, typer.Option(min=1, help="how many")] = 10_000,
        seed: Annotated[int, typer.Option(help="the same seed makes the same trips")] = 1,
        out: Annotated[Path, typer.Option(help="parquet file to write")] = Path("data/trips.parquet"),
        start: Annotated[str, typer.Option(help="first day")] = "2024-01-01",
        days: Annotated[int | None, typer.Option(min=1, help="how many days")] = None,
        service: Annotated[str, typer.Option(help="yellow or green")] = "yellow",
    ) -> None:
        """Generate believable taxi trips in TLC's schema.

        Example: chillflow-stream generate --trips 10000 --seed 1 --out data/trips.parquet
        """
        from chillflow.synthetic.trip_generator import generate as write

        if service not in ("yellow", "green"):
            raise SettingsError(f"--service {service}: expected yellow or green")
        try:
            first = date.fromisoformat(start)
        except ValueError as error:
            raise SettingsError(f"--start {start}: {error}") from error
        out.parent.mkdir(parents=True, exist_ok=True)
        write(out, trips, seed=seed, start=first, days=days, service=service)  # type: ignore[arg-type]
        typer.echo(f"wrote {trips:,} trips to {out}", err=True)


def parse_time(option: str, text: str | None, zone: str) -> datetime | None:
    """A time given as an option; without an offset it is wall time in `zone`."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise SettingsError(f"{option} {text!r}: expected a time like 2024-01-31 or 2024-01-31T12:00") from error
    return time if time.tzinfo else time.replace(tzinfo=ZoneInfo(zone))


def produce(
    settings: Settings,
    selection: Selection,
    pace: Pace | None = None,
    disorder: Disorder | None = None,
    *,
    dry_run: bool = False,
    as_json: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run the production dataflow over the settings' input; its summary, which is also shown unless `quiet`."""
    from chillflow.connectors.log import newest_timestamp
    from chillflow.connectors.stdout import StdoutSink
    from chillflow.production.parquet import ParquetTrips
    from chillflow.running.owning import owned_process
    from chillflow.running.runner import run_flow
    from chillflow.running.stopping import Drain
    from dataflows.produce import build, source_of, topics_of, trips_of

    if pace and pace.speed and pace.rate:
        raise SettingsError("--speed and --rate exclude each other")
    started, drain = time.monotonic(), Drain()
    delivered: Counter[str] = Counter()
    trips = trips_of(settings, selection)
    newest: int | None = None
    if dry_run:
        sink: Any = StdoutSink(settings.topic)
    else:
        sink = topics_of(settings, delivered.update)
        newest = newest_timestamp(sink.log, settings.topic)
    total = getattr(trips, "total", None)
    if selection.limit is not None:
        total = min(total, selection.limit) if total is not None else selection.limit
    with _progress(total) as progress:
        source = source_of(
            settings, trips, drain, limit=selection.limit, pace=pace, disorder=disorder, progress=progress
        )
        with owned_process():
            run_flow(build(source, sink, settings), epoch_interval=settings.epoch_interval, drain=drain)
    summary = _summary(source.stats, delivered[settings.topic], time.monotonic() - started, disorder)
    if quiet:
        return summary
    _report(settings, summary, dry_run=dry_run)
    if isinstance(trips, ParquetTrips) and (trips.ambiguous_times or trips.missing_times):
        typer.echo(
            f"{trips.ambiguous_times:,} times lie in the hour that comes twice (taken as the first),"
            f" {trips.missing_times:,} in the one that is skipped",
            err=True,
        )
    first, horizon = source.stats.first, settings.correction_horizon // timedelta(milliseconds=1)
    if newest is not None and first is not None and first // 1000 < newest - horizon:
        typer.echo(
            f"warning: {settings.topic} was already further on than the first of these events: where its stream time"
            " is ahead by more than the correction horizon, events of forgotten trips are counted late",
            err=True,
        )
    if as_json:
        typer.echo(json.dumps(summary))
    return summary


def _summary(stats: ReplayStats, delivered: int, seconds: float, disorder: Disorder | None) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "trips": stats.trips,
        "events": stats.events,
        "delivered": delivered,
        "rejected": stats.rejected,
        "seconds": round(seconds, 3),
    }
    return summary | ({"disorder": asdict(disorder.stats)} if disorder else {})


def _report(settings: Settings, summary: dict[str, Any], *, dry_run: bool) -> None:
    target = "nowhere (dry run)" if dry_run else settings.topic
    typer.echo(
        "{trips:,} trips, {events:,} events to {target}, {delivered:,} delivered, {rejected:,} rows rejected,"
        " {seconds:.1f} s".format(target=target, **summary),
        err=True,
    )
    if "disorder" in summary:
        typer.echo("disorder: " + ", ".join(f"{n:,} {what}" for what, n in summary["disorder"].items()), err=True)


def _disorder(
    settings: Settings, shuffle_seconds: float, duplicates: float, drop: float, late: float, seed: int
) -> Disorder:
    from chillflow.production.disorder import Disorder

    return Disorder(timedelta(seconds=shuffle_seconds), duplicates, drop, late, seed, settings.trip_timeout)


def _progress(total: int | None) -> AbstractContextManager[Callable[[ReplayStats], None]]:
    """A bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        return nullcontext(lambda stats: None)
    from chillflow.cli.progress_bar import bar

    return bar(total)
