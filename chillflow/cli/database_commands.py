"""The commands `init-db` and `load-trips`."""

from __future__ import annotations

import json

import typer

from chillflow.cli.command import DATABASE, KAFKA, add_command
from chillflow.cli.shared_options import AsJson, TripsFile
from chillflow.settings import Settings

__all__ = ["register"]

_GROUP = "Set up"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add_command(app, "init-db", _init_db, group=_GROUP, uses=DATABASE)
    add_command(app, "load-trips", _load_trips, group=_GROUP, uses=(*DATABASE, *KAFKA, "topic", "source_time_zone"))


def _init_db(settings: Settings) -> None:
    """Create the tables, or bring them up to date. Idempotent.

    Example: DATABASE_URL=postgresql://localhost/chillflow chillflow-stream init-db
    """
    from chillflow.operation.setup import migrate

    applied = migrate(settings)
    typer.echo(f"applied {', '.join(applied)}" if applied else "the tables are up to date", err=True)


def _load_trips(
    settings: Settings,
    file: TripsFile,
    as_json: AsJson = False,
) -> None:
    """Load the trips of a parquet file into stg.complete_trip, for produce-events to replay.

    Example: chillflow-stream load-trips --file data/trips.parquet
    """
    from chillflow.operation.loading import load

    loaded = load(settings, file)
    typer.echo(f"{loaded.trips:,} trips loaded, {loaded.rejected:,} rows rejected, {loaded.seconds:.1f} s", err=True)
    if as_json:
        summary = {"trips": loaded.trips, "rejected": loaded.rejected, "seconds": round(loaded.seconds, 3)}
        typer.echo(json.dumps(summary))
