"""create-topic."""

from __future__ import annotations

from typing import Annotated

import typer

from chillflow.cli.command import KAFKA, command
from chillflow.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this group."""

    @command(app, "create-topic", group="Set up", uses=(*KAFKA, "topic", "partitions", "replication_factor"))
    def create_topic(
        settings: Settings,
        with_all: Annotated[bool, typer.Option("--all", help="and those of the results")] = False,
    ) -> None:
        """Create a topic whose messages are kept for ever, whatever their timestamps. Twice is no error.

        Example: chillflow-stream create-topic --topic trip-events --partitions 4
        """
        from chillflow.connectors import open_log
        from chillflow.model.topics import registry

        specs = registry(settings)
        log = open_log(settings)
        partitions = settings.partitions
        for name in specs if with_all else [settings.topic]:
            if log.ensure_topics([specs[name]], partitions, settings.replication_factor):
                typer.echo(f"created topic {name} with {partitions} partitions", err=True)
            else:
                typer.echo(f"topic {name} exists, with {log.partitions(name)} partitions", err=True)
            if name == settings.topic:
                partitions = log.partitions(name)  # the results have as many
