"""The live demo: a day of taxis on the dashboard, in a few minutes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

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
"""So that a trip that lacks an event is seen as incomplete before the day is over."""


def run(
    settings: Settings, folder: Path, *, trips: int, seed: int, file: Path | None, minutes: float, port: int
) -> None:
    """Send a day of trips in this many minutes, assemble them and show them, until a signal.

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
    with (
        _Process(embedded, folder, "assemble").running() as assembling,
        _Process(embedded, folder, *produce).running() as producing,
    ):

        def ready(address: str) -> None:
            typer.echo(f"{what} in {minutes:g} minutes: {address} (Ctrl-C ends it)\n", err=True)

        def failed() -> bool:
            return assembling.has_failed or producing.has_failed

        serve(embedded, host="127.0.0.1", port=port, ready=ready, until=failed)
    for each in (assembling, producing):
        if each.has_failed:
            raise ChillFlowError(f"{each.name} failed: {each.last_line} (see {each.log})")
    typer.echo("\n".join(page.files(folder)))


class _Process:
    """A `chillflow-stream` command as a child process, with a log file of its own."""

    def __init__(self, settings: Settings, folder: Path, *command: str) -> None:
        self.name = command[0]
        self.log = folder / f"{self.name}.log"
        self._settings = settings
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[_Process]:
        """Run it during the body, then stop it by SIGTERM."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chillflow", *self._command],
                env=to_environment(self._settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C reaches only the demo
            )
        try:
            yield self
        finally:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                try:
                    self._process.wait(_STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()

    @property
    def has_failed(self) -> bool:
        """Whether it has ended with an error."""
        return self._process is not None and bool(self._process.poll())

    @property
    def last_line(self) -> str:
        """The last line of its log, which is the error it ended with."""
        return (self.log.read_text().strip().splitlines() or ["no output"])[-1].removeprefix("error: ")
