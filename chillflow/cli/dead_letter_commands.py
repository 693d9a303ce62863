"""dead-letters list, dead-letters replay."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Annotated

import typer

from chillflow.cli.command import KAFKA, command
from chillflow.model.topics import TopicNames
from chillflow.settings import Settings

__all__ = ["register"]

Reason = Annotated[str | None, typer.Option(help="only those whose reason holds this text")]
Place = Annotated[
    list[str] | None, typer.Option("--offset", help="only PARTITION@OFFSET, as `list` shows it; repeatable")
]
Again = Annotated[bool, typer.Option("--again", help="also those that were sent again already")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="What could not be read, decoded or written: look at it, send it again.")
    app.add_typer(group, name="dead-letters", rich_help_panel="Look")

    @command(group, "list", group="Commands", uses=(*KAFKA, "topic"))
    def _list(
        settings: Settings,
        reason: Reason = None,
        again: Again = False,
        as_json: Annotated[bool, typer.Option("--json", help="a JSON object a letter")] = False,
    ) -> None:
        """Show the dead letters, and how many there are by stage and reason.

        Example: chillflow-stream dead-letters list
        """
        from chillflow.connectors import open_log
        from chillflow.operation.dead_letters import letters

        found = [
            letter
            for letter in letters(open_log(settings), TopicNames.of(settings).dead_letters)
            if (again or not letter.replayed) and (reason is None or reason in letter.reason)
        ]
        for letter in found:
            if as_json:
                said = {"place": letter.place, "stage": letter.stage, "reason": letter.reason, **letter.where}
                typer.echo(json.dumps(said))
            else:
                where = " ".join(f"{name}={text}" for name, text in letter.where.items())
                typer.echo(f"{letter.place:>12}  {letter.stage:7} {where}  {letter.reason}")
        counts = Counter((letter.stage, letter.reason) for letter in found)
        for (stage, why), count in counts.most_common():
            typer.echo(f"{count:>8,}  {stage:7} {why}", err=True)
        typer.echo(f"{len(found):>8,}  dead letters", err=True)

    @command(group, "replay", group="Commands", uses=(*KAFKA, "topic", "correction_horizon"))
    def _replay(
        settings: Settings,
        reason: Reason = None,
        offset: Place = None,
        again: Again = False,
    ) -> None:
        """Send the messages that could not be decoded to their topic again, as they were.

        One that fails again becomes a new dead letter, whose header `replayed-from` names the first.

        Example: chillflow-stream dead-letters replay --reason schema_version
        """
        from chillflow.connectors import open_log
        from chillflow.connectors.log import newest_timestamp
        from chillflow.operation.dead_letters import letters, replay

        log = open_log(settings)
        chosen = [
            letter
            for letter in letters(log, TopicNames.of(settings).dead_letters)
            if letter.stage == "decode"
            and (reason is None or reason in letter.reason)
            and (not offset or letter.place in offset)
        ]
        if done := [letter for letter in chosen if letter.replayed and not again]:
            typer.echo(f"{len(done):,} were sent again before and are left out (--again sends them too)", err=True)
            chosen = [letter for letter in chosen if not letter.replayed]
        newest = newest_timestamp(log, settings.topic)
        horizon = settings.correction_horizon // timedelta(milliseconds=1)
        sent, late = replay(
            log, TopicNames.of(settings).dead_letters, chosen, newest - horizon if newest is not None else None
        )
        typer.echo(f"{sent:,} messages sent again to {settings.topic}", err=True)
        if late:
            typer.echo(f"warning: {late:,} of them lie so far back that they may be counted late", err=True)
