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
        from chillflow.operation.setup import create_topics

        for topic in create_topics(settings, with_results=with_all):
            if topic.is_new:
                typer.echo(f"created topic {topic.name} with {topic.partitions} partitions", err=True)
            else:
                typer.echo(f"topic {topic.name} exists, with {topic.partitions} partitions", err=True)
