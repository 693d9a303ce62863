"""The command `status`."""

from __future__ import annotations

import json

import typer

from chillflow.cli.command import add_command
from chillflow.cli.shared_options import AsJson, Url
from chillflow.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    add_command(app, "status", _status, group="Inspect", uses=("recovery_dir",))


def _status(
    settings: Settings,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show the state of a running `assemble`: lag, throughput, account, last error.

    Finds it by the recovery directory or --url. Exit code 0 if it is running and ready, else 1 with the reason.

    Example: chillflow-stream status --json
    """
    from chillflow.cli.status_lines import lines
    from chillflow.errors import ChillFlowError
    from chillflow.operation.run_status import status

    found = status(settings.recovery_dir, url)
    typer.echo(json.dumps(found) if as_json else "\n".join(lines(found)))
    if not found["ready"]:
        raise ChillFlowError(f"not ready: {'; '.join(found['problems'])}")
