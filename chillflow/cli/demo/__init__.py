"""The demonstration: both dataflows on a stream in disorder, and proof that what came out is what went in."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import typer

from chillflow.cli.demo import page
from chillflow.cli.demo.demo_checks import check, outcome
from chillflow.cli.demo.place import new_place
from chillflow.cli.demo.window_checks import read
from chillflow.errors import ChillFlowError
from chillflow.operation.assembling import assemble
from chillflow.operation.producing import Order, Selection, produce
from chillflow.operation.setup import migrate
from chillflow.production.disorder import Disorder
from chillflow.production.parquet import ParquetTrips
from chillflow.settings import Settings

__all__ = ["run"]


def run(settings: Settings, folder: Path, *, trips: int, days: int, seed: int, file: Path | None) -> None:
    """Generate trips (or take the first of `file`), produce, assemble, compare, and show it all.

    Raises ChillFlowError if it does not add up.
    """
    source, embedded = new_place(settings, folder, trips=trips, days=days, seed=seed, file=file)
    total = ParquetTrips(source, settings.source_time_zone).total
    migrate(embedded)
    disorder = Disorder(timedelta(hours=1), 0.02, 0.002, seed=seed, trip_timeout=settings.trip_timeout)

    _show(page.begin(source, total, min(trips, total), own=file is not None))
    produced = produce(embedded, Order(str(source), Selection(limit=trips), disorder=disorder))
    _show(page.went_in(embedded, produced))
    account = assemble(embedded, exit_at_end=True, close_all=True).account
    seen = outcome(embedded)
    _show(page.came_out(embedded, account, seen))
    windows = read(folder / "trips.sqlite", settings.source_time_zone)
    checks = [*check(embedded, source, produced, account, seen), *windows.checks]
    _show(page.adds_up(account, checks))
    _show(page.incomplete(seen))
    _show(page.zones_and_hours(windows, settings.source_time_zone))
    _show(page.files(folder))
    if any(each.expected != each.found for each in checks):
        raise ChillFlowError("the demo does not add up: please report it")


def _show(lines: list[str]) -> None:
    typer.echo("\n".join([*lines, ""]))
