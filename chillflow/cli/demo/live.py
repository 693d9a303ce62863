"""The demonstration as one sees it: a day of taxis goes by on the dashboard, at a pace that can be watched."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import typer

from chillflow.cli.demo import page
from chillflow.cli.demo.place import new_place
from chillflow.connectors import ensure_topics, open_log
from chillflow.dashboard.server import serve
from chillflow.errors import ChillFlowError
from chillflow.model.events import EVENT_TYPES
from chillflow.model.topics import TopicNames
from chillflow.operation.setup import migrate
from chillflow.production.parquet import ParquetTrips
from chillflow.settings import Settings, to_environment

__all__ = ["run"]

_STOP_SECONDS = 15
_DISORDER = ("--shuffle-seconds", "600", "--duplicates", "0.02", "--drop", "0.002")
_SOON = {"trip_timeout": timedelta(hours=3), "epoch_interval": timedelta(seconds=1)}
"""A trip that lacks an event is to be seen as incomplete before the day is over."""


def run(
    settings: Settings, folder: Path, *, trips: int, seed: int, file: Path | None, minutes: float, port: int
) -> None:
    """Send a day of trips in so many minutes, put them together and show it, until a signal comes.

    Raises ChillFlowError if one of the processes fails.
    """
    source, embedded = new_place(settings.model_copy(update=_SOON), folder, trips=trips, days=1, seed=seed, file=file)
    results = (
        embedded.complete_topic,
        embedded.incomplete_topic,
        TopicNames.of(embedded).late,
        TopicNames.of(embedded).dead_letters,
    )
    ensure_topics(open_log(embedded), embedded, *results, embedded.windows_topic)
    migrate(embedded)
    sent = min(trips, ParquetTrips(source, embedded.source_time_zone).total)
    # by events, not by event time: a row with a wrong date would have all others wait for their day
    pace = ("--rate", f"{len(EVENT_TYPES) * sent / (60 * minutes):.1f}", "--limit", str(sent))
    what = "A day of taxis" if file is None else f"{sent:,} of your trips"
    produce = ("produce-from-file", "--file", str(source), *pace, *_DISORDER, "--seed", str(seed))
    with (
        _Command(embedded, folder, "assemble").running() as assembling,
        _Command(embedded, folder, *produce).running() as producing,
    ):

        def ready(address: str) -> None:
            typer.echo(f"{what} in {minutes:g} minutes: {address} (Ctrl-C ends it)\n", err=True)

        def failed() -> bool:
            return assembling.has_failed or producing.has_failed

        serve(embedded, host="127.0.0.1", port=port, ready=ready, until=failed)
    for each in (assembling, producing):
        if each.has_failed:
            raise ChillFlowError(f"{each.name} failed: {each.last_words} (see {each.log})")
    typer.echo("\n".join(page.files(folder)))


class _Command:
    """A command of ours beside this one, with a log of its own."""

    def __init__(self, settings: Settings, folder: Path, *command: str) -> None:
        self.name = command[0]
        self.log = folder / f"{self.name}.log"
        self._settings = settings
        self._command: Sequence[str] = command
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[_Command]:
        """While the body runs; then it is stopped in good order."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chillflow", *self._command],
                env=to_environment(self._settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C reaches us alone
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
        """Whether it has ended otherwise than well."""
        return self._process is not None and bool(self._process.poll())

    @property
    def last_words(self) -> str:
        """The line it ended with."""
        return (self.log.read_text().strip().splitlines() or ["no word"])[-1].removeprefix("error: ")
