"""The command `reset`."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import typer

from chillflow.cli.command import DATABASE, KAFKA, add_command
from chillflow.settings import Settings

__all__ = ["register"]

_USES = (*KAFKA, *DATABASE, "recovery_dir", "topic", "complete_topic", "incomplete_topic", "replication_factor")


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    add_command(app, "reset", _reset, group="Set up", uses=_USES)


def _reset(
    settings: Settings,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask for confirmation")] = False,
) -> None:
    """Remove the state and the results of `assemble`, to reprocess the events from scratch. Events stay.

    Removes the recovery store, empties the tables (loaded trips stay) and recreates the topics of the results and
    of the dead letters. Rows that could not be read become dead letters again when they are produced again.

    Example: chillflow-stream reset --yes && chillflow-stream assemble --exit-at-end
    """
    from chillflow.model.topics import result_topics
    from chillflow.operation.resetting import reset

    if not yes:
        topics = ", ".join(result_topics(settings))
        typer.echo(f"recovery directory  {settings.recovery_dir}", err=True)
        typer.echo(f"topics              {topics} at {settings.kafka_bootstrap_servers}", err=True)
        typer.echo(f"tables              of {_without_password(settings.database_url)}", err=True)
        typer.confirm("Remove what assembly has written there?", abort=True, err=True)
    rows = reset(settings).rows
    deleted = ", ".join(f"{count:,} rows of {table}" for table, count in rows.items()) or "no tables"
    typer.echo(f"removed: the recovery store, the results in their topics, {deleted}", err=True)


def _without_password(url: str | None) -> str:
    if url is None:
        return "no database"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
