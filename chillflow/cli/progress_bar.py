"""The progress bar of a replay."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from chillflow.production.replay import ReplayStats

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(total: int | None) -> Iterator[Callable[[ReplayStats], None]]:
    """A bar of trips on stderr; the context is the function that moves it."""
    columns = (TextColumn("trips"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task("trips", total=total)
        yield lambda stats: progress.update(task, completed=stats.trips)
