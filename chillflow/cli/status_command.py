"""status."""

from __future__ import annotations

import json
from typing import Annotated

import msgspec
import typer

from chillflow.cli.command import command
from chillflow.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this group."""

    @command(app, "status", group="Look", uses=("recovery_dir",))
    def status(
        settings: Settings,
        url: Annotated[str | None, typer.Option(help="of an `assemble` elsewhere, say http://host:9108")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
    ) -> None:
        """Show how the `assemble` of a recovery directory is doing: lag, throughput, account, last error.

        Exit code 0 if it is running and ready, else 1 and a line that says why.

        Example: chillflow-stream status --json
        """
        from chillflow.errors import ChillFlowError
        from chillflow.operation.run_status import find, lines, look
        from chillflow.running import run_record

        seen = look((url or find(settings.recovery_dir)).rstrip("/"))
        if url is None:
            last_error = run_record.read(settings.recovery_dir / run_record.FILE).last_error
            seen["last_error"] = msgspec.to_builtins(last_error)
        typer.echo(json.dumps(seen) if as_json else "\n".join(lines(seen)))
        if not seen["ready"]:
            raise ChillFlowError(f"not ready: {'; '.join(seen['problems'])}")
