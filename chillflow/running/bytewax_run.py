"""What `python -m bytewax.run` leaves to the dataflow: its settings, logs, and where it recovers from."""

from __future__ import annotations

import argparse
import atexit
import os
import sys
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from chillflow.connectors import open_log
from chillflow.running import recovery, run_record
from chillflow.running.cluster_pages import worker_file
from chillflow.running.process_pages import monitored
from chillflow.running.recovery import ACCOUNT_FILE, locked
from chillflow.running.run import Run
from chillflow.running.stopping import Drain, drain_limit
from chillflow.settings import load, load_arguments
from chillflow.telemetry import Telemetry
from chillflow.telemetry.logs import configure, get_logger

__all__ = ["BytewaxRun"]


class BytewaxRun:
    """A run that Bytewax begins by asking a module for its `flow`: it lasts as long as the process.

    Its settings are those of the environment, its logs as they say, and signals drain it.
    """

    def __init__(self) -> None:
        self.settings, self.arguments = load(), load_arguments()
        self.telemetry, self.drain = Telemetry(), Drain()
        self._held = ExitStack()
        # Let go when the process ends, before the threads of the server do: it would wait for them for ever.
        atexit.register(self._held.close)
        configure(self.settings.log_level, self.settings.log_format)
        self._held.enter_context(self.drain.on_signals(drain_limit(self.settings.epoch_interval)))

    def run(self) -> Run:
        """The run, with its recovery directory locked. Raises RecoveryError if another process holds it."""
        return Run(
            self.telemetry,
            self.drain,
            exit_at_end=self.arguments.exit_at_end,
            close_all=self.arguments.close_all,
            account_file=self._account_file(),
        )

    def _account_file(self) -> Path | None:
        """Where the account is kept: in the recovery directory, which is locked for the life of this process.

        Without one, None and a warning. Raises RecoveryError if another process of the same number holds it.
        """
        folder, number, _ = self._given
        if folder is None:
            get_logger().warning("no recovery: a restart reads the topic from the beginning (add -r DIR -s 1 -b 0)")
            return None
        self._held.enter_context(locked(folder / (f"lock-{number}" if number else "lock")))
        return folder / ACCOUNT_FILE

    def bind(self) -> None:
        """Refuse a recovery directory that belongs to another pipeline."""
        if self._given.folder is not None:
            topic, log = self.settings.topic, open_log(self.settings)
            recovery.bind(self._given.folder, self.settings, log.partitions(topic), log.topic_id(topic))

    def serve(self) -> None:
        """Serve metrics and health for the life of this process: process N on the port of the settings + N.

        Without a recovery directory there are no durable epochs to tell of, and no place to keep the address.
        """
        settings, (folder, number, processes) = self.settings, self._given
        if folder is None:
            return
        if settings.metrics_port:
            settings = settings.model_copy(update={"metrics_port": settings.metrics_port + number})
        partitions = open_log(settings).partitions(settings.topic) if processes == 1 else 1  # of several, who knows
        file = worker_file(number) if number else run_record.FILE
        self._held.enter_context(
            monitored(settings, self.telemetry, folder, number=number, partitions=partitions, file=file)
        )

    @cached_property
    def _given(self) -> _BytewaxOptions:
        parser = argparse.ArgumentParser(add_help=False)
        parser.add_argument("-r", "--recovery-directory", default=os.environ.get("BYTEWAX_RECOVERY_DIRECTORY"))
        parser.add_argument("-i", "--process-id", default=os.environ.get("BYTEWAX_PROCESS_ID"))
        parser.add_argument("-a", "--addresses", default=os.environ.get("BYTEWAX_ADDRESSES"))
        given, _ = parser.parse_known_args(sys.argv[1:])
        folder = Path(given.recovery_directory) if given.recovery_directory else None
        return _BytewaxOptions(folder, int(given.process_id or 0), len((given.addresses or "").split(";")))


class _BytewaxOptions(NamedTuple):
    """What Bytewax was given: the recovery directory, the number of this process, and of how many."""

    folder: Path | None
    number: int
    processes: int
