"""demo."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from chillflow.cli.command import command
from chillflow.cli.dashboard_command import PORT, need_extra
from chillflow.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this group."""

    @command(app, "demo", group="Start here")
    def demo(
        settings: Settings,
        trips: Annotated[int, typer.Option(min=1, help="how many trips to generate, or to take of a file")] = 20_000,
        days: Annotated[int, typer.Option(min=1, help="over how many days they are spread")] = 3,
        seed: Annotated[int, typer.Option(help="the same seed makes the same trips, and the same disorder")] = 1,
        file: Annotated[Path | None, typer.Option("--file", help="your own parquet file of TLC trips instead")] = None,
        folder: Annotated[Path | None, typer.Option(help="where to keep the files (default: a new folder)")] = None,
        live: Annotated[bool, typer.Option("--live", help="show a day live on the dashboard, until stopped")] = False,
        minutes: Annotated[float, typer.Option(min=0.1, help="with --live: how long the day takes")] = 3,
        port: Annotated[int, typer.Option(min=0, max=65535, help="with --live: port of the dashboard")] = PORT,
    ) -> None:
        """Trips through both dataflows on files and SQLite, no server needed, and whether it adds up.

        The events are shuffled, some sent twice and a few left out; what comes out is compared with what went in.

        Example: chillflow-stream demo --file data/trips.parquet
        """
        if live:
            need_extra()
            from chillflow.cli.demo import live as watched

            place = folder or _new_folder()
            watched.run(settings, place, trips=trips, seed=seed, file=file, minutes=minutes, port=port)
            return
        from chillflow.cli.demo import run

        run(settings, folder or _new_folder(), trips=trips, days=days, seed=seed, file=file)


def _new_folder() -> Path:
    """A folder that is not there yet, named by the time."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    names = (f"demo-{stamp}{'' if number == 1 else f'-{number}'}" for number in count(1))
    return next(path for name in names if not (path := Path(".chillflow") / name).exists())
