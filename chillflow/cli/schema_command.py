"""The command `schema`."""

from __future__ import annotations

import json

import typer

from chillflow.cli.command import add_command
from chillflow.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    add_command(app, "schema", _schema, group="Inspect")


def _schema(settings: Settings) -> None:
    """Print the JSON Schema of the messages: the events, CompleteTrip, IncompleteTrip, ZoneWindow.

    Example: chillflow-stream schema > schema.json
    """
    from chillflow.model.schema import schema

    typer.echo(json.dumps(schema(), indent=2))
