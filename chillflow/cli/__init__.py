"""The command `chillflow-stream`: parse options, call a job, print its result. One file per group of commands.

Holds: no logic. Each command imports what it needs when it runs, so that `--help` is fast.
May import: errors, settings, telemetry, keyed, model, connectors, production, synthetic, operation, dashboard.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from chillflow import __version__
from chillflow.cli import (
    assemble_command,
    consume_command,
    dashboard_command,
    database_commands,
    dead_letter_commands,
    demo_command,
    doctor_command,
    produce_commands,
    reset_command,
    schema_command,
    status_command,
    topic_command,
)

__all__ = ["app", "main"]

app = typer.Typer(
    name="chillflow-stream",
    help="NYC taxi trips replayed as events through Kafka and reassembled: nothing lost, nothing written twice.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="print the version", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


for module in (
    demo_command,
    produce_commands,
    assemble_command,
    status_command,
    dashboard_command,
    doctor_command,
    consume_command,
    dead_letter_commands,
    schema_command,
    topic_command,
    database_commands,
    reset_command,
):
    module.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command of these arguments, by default those of the process. Raises SystemExit when it ends."""
    app(arguments, prog_name="chillflow-stream")
