"""produce-from-file, produce-events, generate."""

from __future__ import annotations

import json
import sys
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
    from chillflow.operation.producing import Order
    from chillflow.production.disorder import Disorder
    from chillflow.production.replay import ReplayStats

__all__ = ["parse_time", "register"]

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
        from chillflow.operation.producing import Order, Selection
        from chillflow.production.replay_source import Pace

        disorder = _disorder(settings, shuffle_seconds, duplicates, drop, late, seed)
        order = Order(str(file), Selection(limit=limit), Pace(speed, rate), disorder)
        _run(settings, order, dry_run=dry_run, as_json=as_json)

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
        from chillflow.operation.producing import TABLE, Order, Selection
        from chillflow.production.replay_source import Pace

        zone = settings.source_time_zone
        selection = Selection(limit, trip_key, parse_time("--since", since, zone), parse_time("--until", until, zone))
        disorder = _disorder(settings, shuffle_seconds, duplicates, drop, late, seed)
        order = Order(TABLE, selection, Pace(speed, rate), disorder)
        _run(settings, order, dry_run=dry_run, as_json=as_json)

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


def _run(
    settings: Settings,
    order: Order,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Produce, and print the summary."""
    from chillflow.operation.producing import produce

    done = produce(settings, order, dry_run=dry_run, progress=_progress)
    summary: dict[str, Any] = {
        "trips": done.trips,
        "events": done.events,
        "delivered": done.delivered,
        "rejected": done.rejected,
        "seconds": round(done.seconds, 3),
    }
    target = "nowhere (dry run)" if dry_run else settings.topic
    typer.echo(
        "{trips:,} trips, {events:,} events to {target}, {delivered:,} delivered, {rejected:,} rows rejected,"
        " {seconds:.1f} s".format(target=target, **summary),
        err=True,
    )
    if done.disorder is not None:
        summary["disorder"] = asdict(done.disorder)
        typer.echo("disorder: " + ", ".join(f"{n:,} {name}" for name, n in summary["disorder"].items()), err=True)
    if done.ambiguous_times or done.missing_times:
        typer.echo(
            f"{done.ambiguous_times:,} times lie in the hour that occurs twice (taken as the first),"
            f" {done.missing_times:,} in the one that is skipped",
            err=True,
        )
    if done.is_behind:
        typer.echo(
            f"warning: {settings.topic} already held events further ahead than these: where its watermark is ahead by"
            " more than the correction horizon, events of dropped trips count as late",
            err=True,
        )
    if as_json:
        typer.echo(json.dumps(summary))


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
