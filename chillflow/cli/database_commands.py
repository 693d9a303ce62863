"""init-db, load-trips."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from chillflow.cli.command import DATABASE, KAFKA, command
from chillflow.settings import Settings

__all__ = ["register"]

GROUP = "Set up"


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""

    @command(app, "init-db", group=GROUP, uses=DATABASE)
    def init_db(settings: Settings) -> None:
        """Make the tables, or bring them up to date. Twice is no error.

        Example: DATABASE_URL=postgresql://localhost/chillflow chillflow-stream init-db
        """
        from chillflow.operation.setup import migrate

        applied = migrate(settings)
        typer.echo(f"applied {', '.join(applied)}" if applied else "the tables are up to date", err=True)

    @command(app, "load-trips", group=GROUP, uses=(*DATABASE, *KAFKA, "topic", "source_time_zone"))
    def load_trips(
        settings: Settings,
        file: Annotated[Path, typer.Option("--file", help="parquet file of TLC trips, or an export of ours")],
        as_json: Annotated[bool, typer.Option("--json", help="end with one JSON object on stdout")] = False,
    ) -> None:
        """Load the trips of a parquet file into stg.complete_trip, to be replayed by produce-events.

        Example: chillflow-stream load-trips --file data/trips.parquet
        """
        from chillflow.operation.loading import load

        started = time.monotonic()
        loaded, rejected = load(settings, file)
        summary = {"trips": loaded, "rejected": rejected, "seconds": round(time.monotonic() - started, 3)}
        typer.echo(f"{loaded:,} trips loaded, {rejected:,} rows rejected, {summary['seconds']:.1f} s", err=True)
        if as_json:
            typer.echo(json.dumps(summary))
