"""The command `assemble`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from chillflow.cli.command import DATABASE, KAFKA, add_command
from chillflow.cli.shared_options import AsJson
from chillflow.settings import Settings

__all__ = ["register"]

_USES = (
    *KAFKA,
    *DATABASE,
    "recovery_dir",
    "epoch_interval",
    "topic",
    "complete_topic",
    "incomplete_topic",
    "create_topics",
    "partitions",
    "replication_factor",
    "trip_timeout",
    "correction_horizon",
    "incomplete_horizon",
    "event_time",
    "stream_time_rank",
    "key_groups",
    "metrics_host",
    "metrics_port",
    "ready_epoch_limit",
)


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    add_command(app, "assemble", _assemble, group="Assemble", uses=_USES)


def _assemble(
    settings: Settings,
    workers: Annotated[int, typer.Option(min=1, help="processes on this machine")] = 1,
    exit_at_end: Annotated[
        bool, typer.Option("--exit-at-end", help="read up to the current end of the topic, then exit")
    ] = False,
    close_all: Annotated[
        bool, typer.Option("--close-all", help="with --exit-at-end: close the open trips as incomplete")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Reassemble the trips, until stopped by Ctrl-C or SIGTERM. State is kept for the next run.

    Example: chillflow-stream assemble --exit-at-end --close-all --json
    """
    if close_all and not exit_at_end:
        raise typer.BadParameter("needs --exit-at-end", param_hint="--close-all")
    from chillflow.operation.assembling import assemble

    assembled = assemble(settings, workers=workers, exit_at_end=exit_at_end, close_all=close_all, warn=_warn)
    typer.echo(
        "{events:,} events: {complete_trips:,} complete trips, {incomplete_trips:,} incomplete,"
        " {open_trips:,} open; {duplicates:,} duplicates, {superseded:,} superseded, {late:,} late,"
        " {dead_letters:,} dead letters; {seconds:.1f} s".format(**assembled.account, seconds=assembled.seconds),
        err=True,
    )
    if assembled.account["late"]:
        _report_late(assembled.account["late"], assembled.late_share)
    if as_json:
        share, seconds = assembled.late_share, round(assembled.seconds, 3)
        typer.echo(json.dumps({**assembled.account, "late_share": share, "seconds": seconds}))


def _report_late(count: int, share: float | None) -> None:
    """Print how many events were late, and if there are too many the possible causes."""
    from chillflow.telemetry.late_share import CAUSES, describe, is_wrong

    lines = [f"late events: {count:,} in all, {describe(share)}"]
    if is_wrong(share):
        lines = [f"WRONG: {lines[0]}", *(f"- {cause}" for cause in CAUSES)]
    typer.echo("\n".join(lines), err=True)


def _warn(text: str) -> None:
    typer.echo(f"warning: {text}", err=True)
