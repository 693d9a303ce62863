"""The commands `dead-letters list` and `dead-letters replay`."""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated

import typer

from chillflow.cli.command import KAFKA, add_command
from chillflow.settings import Settings

__all__ = ["register"]

Reason = Annotated[str | None, typer.Option(help="only dead letters whose reason contains this text")]
Places = Annotated[
    list[str] | None, typer.Option("--offset", help="only the one at PARTITION@OFFSET, as in `list`; repeatable")
]
Again = Annotated[bool, typer.Option("--again", help="include dead letters that were already replayed")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(help="List or replay what could not be read, decoded or written.")
    app.add_typer(group, name="dead-letters", rich_help_panel="Inspect")
    add_command(group, "list", _list, group="Commands", uses=(*KAFKA, "topic"))
    add_command(group, "replay", _replay, group="Commands", uses=(*KAFKA, "topic", "correction_horizon"))


def _list(
    settings: Settings,
    reason: Reason = None,
    again: Again = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object per dead letter")] = False,
) -> None:
    """List the dead letters and count them by stage and reason.

    Example: chillflow-stream dead-letters list
    """
    from chillflow.operation.dead_letters import list_letters

    found = list_letters(settings, reason=reason, again=again)
    for letter in found:
        if as_json:
            fields = {"place": letter.place, "stage": letter.stage, "reason": letter.reason, **letter.where}
            typer.echo(json.dumps(fields))
        else:
            where = " ".join(f"{name}={text}" for name, text in letter.where.items())
            typer.echo(f"{letter.place:>12}  {letter.stage:7} {where}  {letter.reason}")
    counts = Counter((letter.stage, letter.reason) for letter in found)
    for (stage, why), count in counts.most_common():
        typer.echo(f"{count:>8,}  {stage:7} {why}", err=True)
    typer.echo(f"{len(found):>8,}  dead letters", err=True)


def _replay(
    settings: Settings,
    reason: Reason = None,
    offset: Places = None,
    again: Again = False,
) -> None:
    """Send the messages that could not be decoded to their topic again, unchanged.

    A message that fails again becomes a new dead letter, whose header `replayed-from` is the place of the first one.

    Example: chillflow-stream dead-letters replay --reason schema_version
    """
    from chillflow.operation.dead_letters import replay

    replayed = replay(settings, reason=reason, places=offset or (), again=again)
    if replayed.skipped:
        typer.echo(f"{replayed.skipped:,} already replayed, skipped (--again includes them)", err=True)
    typer.echo(f"{replayed.sent:,} messages sent to {settings.topic} again", err=True)
    if replayed.late:
        typer.echo(f"warning: {replayed.late:,} of them are so old that they may count as late", err=True)
