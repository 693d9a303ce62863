"""consume-events."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from chillflow.cli.command import KAFKA, command
from chillflow.cli.produce_commands import parse_time
from chillflow.errors import SettingsError
from chillflow.model.events import EVENT_TYPES
from chillflow.model.trips import microseconds
from chillflow.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this group."""

    @command(app, "consume-events", group="Look", uses=(*KAFKA, "topic"))
    def consume_events(
        settings: Settings,
        count: Annotated[int | None, typer.Option("-n", min=1, help="stop after so many messages")] = None,
        start: Annotated[
            str, typer.Option("--from", help="`beginning`, `end`, or an event time like 2024-01-31T12:00")
        ] = "beginning",
        exit_at_end: Annotated[bool, typer.Option("--exit-at-end", help="stop at the end")] = False,
        trip_key: Annotated[str | None, typer.Option(help="only this trip")] = None,
        event_type: Annotated[str | None, typer.Option(help=f"only {', '.join(EVENT_TYPES)}")] = None,
        output: Annotated[
            str | None, typer.Option("--format", help="`text` (default on a terminal) or `json` (in a pipe)")
        ] = None,
    ) -> None:
        """Show the messages of a topic from the beginning, then as they come. Changes no committed offset.

        Example: chillflow-stream consume-events --topic trip-events -n 10 | jq .
        """
        from chillflow.cli.message_lines import as_json, as_text
        from chillflow.connectors import open_log
        from chillflow.operation.following import Following, matches

        if event_type is not None and event_type not in EVENT_TYPES:
            raise SettingsError(f"--event-type {event_type}: expected one of {', '.join(EVENT_TYPES)}")
        if output not in (None, "text", "json"):
            raise SettingsError(f"--format {output}: expected text or json")
        since: Any = start
        if start not in ("beginning", "end"):
            time = parse_time("--from", start, settings.source_time_zone)
            assert time is not None
            since = microseconds(time) // 1000
        in_text = output == "text" or (output is None and sys.stdout.isatty())
        show = as_text if in_text else as_json
        shown = 0
        following = Following(open_log(settings), settings.topic, since)
        try:
            for message in following.messages(stop_at_end=exit_at_end, on_end=_say_waiting):
                if not matches(message, trip_key, event_type):
                    continue
                typer.echo(show(message))
                shown += 1
                if shown == count:
                    return
        except KeyboardInterrupt:
            return
        finally:
            following.close()


def _say_waiting() -> None:
    typer.echo("at the end, waiting for more (Ctrl-C stops)", err=True)
