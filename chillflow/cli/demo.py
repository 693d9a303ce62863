"""demo."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from chillflow.cli.command import command
from chillflow.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this group."""

    @command(app, "demo", group="Start here")
    def demo(
        settings: Settings,
        trips: Annotated[int, typer.Option(min=1, help="how many trips to generate")] = 20_000,
        seed: Annotated[int, typer.Option(help="the same seed makes the same trips")] = 1,
        file: Annotated[Path | None, typer.Option("--file", help="your own parquet file of TLC trips instead")] = None,
        folder: Annotated[Path | None, typer.Option(help="where to keep the files")] = None,
    ) -> None:
        """Trips through both dataflows on files and SQLite, no server needed, and whether it adds up.

        Example: chillflow-stream demo
        """
        from chillflow.demo import run

        stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
        run(settings, folder or Path(".chillflow") / f"demo-{stamp}", trips=trips, seed=seed, file=file)
