"""The command `consume-events`."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from chillflow.cli.command import KAFKA, add_command
from chillflow.cli.shared_options import TripKey, parse_time
from chillflow.errors import SettingsError
from chillflow.model.events import EVENT_TYPES
from chillflow.model.trips import milliseconds
from chillflow.settings import Settings

if TYPE_CHECKING:
    from chillflow.operation.following import Start

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    add_command(app, "consume-events", _consume_events, group="Inspect", uses=(*KAFKA, "topic"))


def _consume_events(
    settings: Settings,
    count: Annotated[int | None, typer.Option("-n", min=1, help="stop after this many messages")] = None,
    start: Annotated[
        str, typer.Option("--from", help="`beginning`, `end`, or an event time like 2024-01-31T12:00")
    ] = "beginning",
    exit_at_end: Annotated[bool, typer.Option("--exit-at-end", help="stop at the current end of the topic")] = False,
    trip_key: TripKey = None,
    event_type: Annotated[str | None, typer.Option(help=f"only this type: {', '.join(EVENT_TYPES)}")] = None,
    output: Annotated[
        str | None, typer.Option("--format", help="`text` (default on a terminal) or `json` (in a pipe)")
    ] = None,
) -> None:
    """Print the messages of a topic, then new ones as they arrive. Commits no offsets.

    Example: chillflow-stream consume-events --topic trip-events -n 10 | jq .
    """
    from chillflow.cli.message_lines import as_json, as_text
    from chillflow.operation.following import follow

    if event_type is not None and event_type not in EVENT_TYPES:
        raise SettingsError(f"--event-type {event_type}: expected one of {', '.join(EVENT_TYPES)}")
    if output not in (None, "text", "json"):
        raise SettingsError(f"--format {output}: expected text or json")
    show = as_text if output == "text" or (output is None and sys.stdout.isatty()) else as_json
    messages = follow(
        settings,
        _start(start, settings.source_time_zone),
        stop_at_end=exit_at_end,
        on_end=_report_waiting,
        trip_key=trip_key,
        event_type=event_type,
    )
    with closing(messages):
        try:
            for number, message in enumerate(messages, 1):
                typer.echo(show(message))
                if number == count:
                    return
        except KeyboardInterrupt:
            return


def _start(text: str, zone: str) -> Start:
    if text == "beginning":
        return "beginning"
    if text == "end":
        return "end"
    return milliseconds(parse_time("--from", text, zone))


def _report_waiting() -> None:
    typer.echo("at the end, waiting for more (Ctrl-C stops)", err=True)
