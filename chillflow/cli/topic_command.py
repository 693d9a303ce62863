"""The command `create-topic`."""

from __future__ import annotations

from typing import Annotated

import typer

from chillflow.cli.command import KAFKA, add_command
from chillflow.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    uses = (*KAFKA, "topic", "partitions", "replication_factor")
    add_command(app, "create-topic", _create_topic, group="Set up", uses=uses)


def _create_topic(
    settings: Settings,
    with_all: Annotated[bool, typer.Option("--all", help="create the topics of the results, too")] = False,
) -> None:
    """Create a topic that keeps its messages for ever, however old their timestamps. Idempotent.

    Example: chillflow-stream create-topic --topic trip-events --partitions 4
    """
    from chillflow.operation.setup import create_topics

    for topic in create_topics(settings, with_results=with_all):
        if topic.is_new:
            typer.echo(f"created topic {topic.name} with {topic.partitions} partitions", err=True)
        else:
            typer.echo(f"topic {topic.name} exists, with {topic.partitions} partitions", err=True)
