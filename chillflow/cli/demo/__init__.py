"""The demo: both dataflows on a stream in disorder, and checks of the output against the input."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import typer

from chillflow.cli.demo import page
from chillflow.cli.demo.demo_checks import check, outcome
from chillflow.cli.demo.demo_folder import new_folder
from chillflow.cli.demo.window_checks import read_windows
from chillflow.errors import ChillFlowError
from chillflow.operation.assembling import assemble
from chillflow.operation.producing import Order, Selection, produce
from chillflow.operation.setup import migrate
from chillflow.production.disorder import Disorder
from chillflow.production.parquet import ParquetTrips
from chillflow.settings import Settings

__all__ = ["run"]


def run(settings: Settings, folder: Path, *, trips: int, days: int, seed: int, file: Path | None) -> None:
    """Generate trips (or take the first ones of `file`), produce and assemble them, check and print the result.

    Raises ChillFlowError if a check fails.
    """
    source, embedded = new_folder(settings, folder, trips=trips, days=days, seed=seed, file=file)
    total = ParquetTrips(source, settings.source_time_zone).total
    migrate(embedded)
    disorder = Disorder(timedelta(hours=1), 0.02, 0.002, seed=seed, trip_timeout=settings.trip_timeout)

    _print(page.intro(source, total, min(trips, total), own=file is not None))
    produced = produce(embedded, Order(str(source), Selection(limit=trips), disorder=disorder))
    _print(page.went_in(embedded, produced))
    assembled = assemble(embedded, exit_at_end=True, close_all=True)
    seen = outcome(embedded)
    _print(page.came_out(embedded, assembled.account, seen))
    windows = read_windows(folder / "trips.sqlite", settings.source_time_zone)
    checks = [*check(embedded, source, produced, assembled, seen), *windows.checks]
    _print(page.adds_up(assembled.account, checks))
    _print(page.incomplete(seen))
    _print(page.zones_and_hours(windows, settings.source_time_zone))
    _print(page.files(folder))
    if not all(each.is_ok for each in checks):
        raise ChillFlowError("the demo does not add up: please report it")


def _print(lines: list[str]) -> None:
    typer.echo("\n".join([*lines, ""]))
