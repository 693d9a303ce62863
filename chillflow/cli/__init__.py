"""The command `chillflow-stream`: parse, call, print. A file a group of commands.

What a command needs is imported when it runs: `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from chillflow import __version__
from chillflow.cli import (
    assembling,
    consuming,
    dashboard,
    databases,
    dead_letters,
    demo,
    doctor,
    producing,
    resetting,
    schema,
    status,
    topics,
)

__all__ = ["app", "main"]

app = typer.Typer(
    name="chillflow-stream",
    help="Trips replayed as events through Kafka, and put together again: nothing lost, nothing twice.",
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


for group in (
    demo,
    producing,
    assembling,
    status,
    dashboard,
    doctor,
    consuming,
    dead_letters,
    schema,
    topics,
    databases,
    resetting,
):
    group.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script; the arguments are those of the process unless given.

    Raises SystemExit, as a command line ends.
    """
    app(arguments, prog_name="chillflow-stream")
