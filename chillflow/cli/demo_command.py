"""The command `demo`."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from chillflow.cli.command import add_command
from chillflow.cli.dashboard_command import PORT, need_extra
from chillflow.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    add_command(app, "demo", _demo, group="Start here")


def _demo(
    settings: Settings,
    trips: Annotated[int, typer.Option(min=1, help="number of trips to generate, or to take from --file")] = 20_000,
    days: Annotated[int, typer.Option(min=1, help="days that the generated trips cover; one with --live")] = 3,
    seed: Annotated[int, typer.Option(help="the same seed gives the same trips in the same disorder")] = 1,
    file: Annotated[Path | None, typer.Option("--file", help="parquet file to take the trips from")] = None,
    folder: Annotated[Path | None, typer.Option(help="new folder (default: .chillflow/demo-TIME)")] = None,
    live: Annotated[bool, typer.Option("--live", help="show one day on the dashboard, until stopped")] = False,
    minutes: Annotated[float, typer.Option(min=0.1, help="with --live: minutes that the day takes")] = 3,
    port: Annotated[int, typer.Option(min=0, max=65535, help="with --live: port of the dashboard")] = PORT,
) -> None:
    """Run both dataflows on files and SQLite, without a server, and check the result.

    Events are sent out of order, some twice, a few not at all. Then the output is compared with the input.

    Example: chillflow-stream demo --file data/trips.parquet
    """
    if live:
        need_extra()
        from chillflow.cli.demo import live_demo

        place = folder or _new_folder()
        live_demo.run(settings, place, trips=trips, seed=seed, file=file, minutes=minutes, port=port)
        return
    from chillflow.cli.demo import run

    run(settings, folder or _new_folder(), trips=trips, days=days, seed=seed, file=file)


def _new_folder() -> Path:
    """A folder that does not exist yet, named by the time."""
    time = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    names = (f"demo-{time}{'' if number == 1 else f'-{number}'}" for number in count(1))
    return next(path for name in names if not (path := Path(".chillflow") / name).exists())
