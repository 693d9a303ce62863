"""The live demo: a day of taxis on the dashboard, in a few minutes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import typer

from chillflow.cli.demo import page
from chillflow.cli.demo.demo_folder import new_folder
from chillflow.dashboard.server import serve
from chillflow.errors import ChillFlowError
from chillflow.model.events import EVENT_TYPES
from chillflow.operation.setup import create_topics, migrate
from chillflow.production.parquet import ParquetTrips
from chillflow.settings import Settings, to_environment

__all__ = ["run"]

_STOP_SECONDS = 15
_DISORDER = ("--shuffle-seconds", "600", "--duplicates", "0.02", "--drop", "0.002")
_SHORT = {"trip_timeout": timedelta(hours=3), "epoch_interval": timedelta(seconds=1)}
"""With the usual timeout, no trip would become incomplete before the day is over."""


def run(
    settings: Settings, folder: Path, *, trips: int, seed: int, file: Path | None, minutes: float, port: int
) -> None:
    """Produce a day of trips in `minutes`, assemble them and show them, until a signal.

    Raises ChillFlowError if one of the processes fails.
    """
    source, embedded = new_folder(settings.model_copy(update=_SHORT), folder, trips=trips, days=1, seed=seed, file=file)
    list(create_topics(embedded, with_results=True))
    migrate(embedded)
    sent = min(trips, ParquetTrips(source, embedded.source_time_zone).total)
    # --rate, not --speed: with a wrong date in one row the others would wait for that day
    pace = ("--rate", f"{len(EVENT_TYPES) * sent / (60 * minutes):.1f}", "--limit", str(sent))
    what = "A day of taxis" if file is None else f"{sent:,} of your trips"
    produce = ("produce-from-file", "--file", str(source), *pace, *_DISORDER, "--seed", str(seed))
    with _running(embedded, folder, "assemble") as assembling, _running(embedded, folder, *produce) as producing:

        def ready(address: str) -> None:
            typer.echo(f"{what} in {minutes:g} minutes: {address} (Ctrl-C ends it)\n", err=True)

        def failed() -> _Command | None:
            return next((each for each in (assembling, producing) if each.process.poll()), None)

        serve(embedded, host="127.0.0.1", port=port, ready=ready, until=lambda: failed() is not None)
        first = failed()  # before they are stopped: a process that our signal ends has not failed
    if first is not None:
        raise ChillFlowError(f"{first.name} failed: {first.last_line} (see {first.log})")
    typer.echo("\n".join(page.files(folder)))


class _Command(NamedTuple):
    """A `chillflow-stream` command in a child process, with a log file of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def last_line(self) -> str:
        """The last line of its log: the error if it failed."""
        return (self.log.read_text().strip().splitlines() or ["no output"])[-1].removeprefix("error: ")


@contextmanager
def _running(settings: Settings, folder: Path, *command: str) -> Iterator[_Command]:
    """Run a command during the body, then stop it: by SIGTERM, and by SIGKILL if it takes too long."""
    log = folder / f"{command[0]}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "chillflow", *command],
            env=to_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C reaches only the demo
        )
    try:
        yield _Command(command[0], process, log)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
