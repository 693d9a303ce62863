"""reset."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import typer

from chillflow.cli.command import DATABASE, KAFKA, command
from chillflow.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    uses = (*KAFKA, *DATABASE, "recovery_dir", "topic", "complete_topic", "incomplete_topic", "replication_factor")

    @command(app, "reset", group="Set up", uses=uses)
    def _reset(
        settings: Settings,
        yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    ) -> None:
        """Remove what `assemble` has made and remembers, to run it all again, after a fix say. The events stay.

        The recovery directory goes, the tables are emptied (trips that were only loaded stay), the topics of the
        results are made anew. Rows that could not be read are dead letters again when they are produced again.

        Example: chillflow-stream reset --yes && chillflow-stream assemble --exit-at-end
        """
        from chillflow.operation.resetting import reset, results

        if not yes:
            topics = ", ".join(spec.name for spec in results(settings))
            typer.echo(f"recovery directory  {settings.recovery_dir}", err=True)
            typer.echo(f"topics              {topics} at {settings.kafka_bootstrap_servers}", err=True)
            typer.echo(f"tables              of {_place(settings.database_url)}", err=True)
            typer.confirm("Remove what assembly has written there?", abort=True, err=True)
        rows = reset(settings)
        deleted = ", ".join(f"{count:,} rows of {table}" for table, count in rows.items()) or "no tables"
        typer.echo(f"removed: the recovery store, the results in their topics, {deleted}", err=True)


def _place(url: str | None) -> str:
    """Where the database is, without its password."""
    if url is None:
        return "no database"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
