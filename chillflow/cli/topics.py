"""create-topic."""

from __future__ import annotations

import typer

from chillflow.cli.command import KAFKA, command
from chillflow.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this group."""

    @command(app, "create-topic", group="Set up", uses=(*KAFKA, "topic", "partitions", "replication_factor"))
    def create_topic(settings: Settings) -> None:
        """Create a topic whose messages are kept for ever, whatever their timestamps. Twice is no error.

        Example: chillflow-stream create-topic --topic trip-events --partitions 4
        """
        from chillflow.connectors import open_log
        from chillflow.topics import registry

        spec = registry(settings)[settings.topic]
        log = open_log(settings)
        if log.ensure_topics([spec], settings.partitions, settings.replication_factor):
            typer.echo(f"created topic {spec.name} with {settings.partitions} partitions", err=True)
        else:
            typer.echo(f"topic {spec.name} exists, with {log.partitions(spec.name)} partitions", err=True)
