"""The command `doctor`."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

import typer

from chillflow.cli.command import DATABASE, KAFKA, add_command
from chillflow.cli.shared_options import AsJson
from chillflow.settings import Settings

if TYPE_CHECKING:
    from chillflow.operation.doctor_checks import Finding

__all__ = ["register"]

_USES = (
    *KAFKA,
    *DATABASE,
    "topic",
    "complete_topic",
    "incomplete_topic",
    "create_topics",
    "recovery_dir",
    "event_time",
    "stream_time_rank",
    "key_groups",
    "ready_epoch_limit",
)
_MARKS = {"ok": "ok", "skipped": "-", "wrong": "WRONG"}
_INDENT = " " * 8


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    add_command(app, "doctor", _doctor, group="Inspect", uses=_USES)


def _doctor(
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """Check broker, topics, tables, recovery directory and clock. Each line says ok, or what to do.

    Changes nothing. Exit code 1 if something is wrong.

    Example: chillflow-stream doctor --json
    """
    from chillflow.operation.doctor import examine

    findings = []
    for finding in examine(settings):
        findings.append(finding)
        if not as_json:
            typer.echo(_lines(finding))
    ok = all(finding.status != "wrong" for finding in findings)
    if as_json:
        typer.echo(json.dumps({"ok": ok, "findings": [finding._asdict() for finding in findings]}))
    if not ok:
        raise typer.Exit(1)


def _lines(finding: Finding) -> str:
    """A finding for a terminal of 80 columns. Lines of the advice stay whole, for copying."""
    text = f"{_MARKS[finding.status]:8}{finding.check}: {finding.found}"
    found = textwrap.fill(text, 80, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False)
    return "\n".join([found, *(f"{_INDENT}-> {line}" for line in (finding.advice or "").splitlines())])
