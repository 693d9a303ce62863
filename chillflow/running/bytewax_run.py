"""The run around a dataflow under `python -m bytewax.run`: settings, logs, recovery directory, endpoints."""

from __future__ import annotations

import argparse
import atexit
import os
import sys
import threading
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from chillflow.connectors import open_log
from chillflow.errors import ChillFlowError, RecoveryError
from chillflow.running import recovery, run_record
from chillflow.running.cluster_endpoints import worker_file
from chillflow.running.process_endpoints import monitored
from chillflow.running.recovery import ACCOUNT_FILE, is_new, lock_file, locked
from chillflow.running.run import Run
from chillflow.running.runner import failure_of
from chillflow.running.stopping import Drain, drain_limit
from chillflow.running.wiring import monitoring, pipeline_identity
from chillflow.settings import load, load_arguments
from chillflow.telemetry import Telemetry
from chillflow.telemetry.logs import configure, get_logger, report_repeats

__all__ = ["BytewaxRun"]


class BytewaxRun:
    """A run that starts when Bytewax asks a module for its `flow`, and lasts as long as the process.

    Settings come from the environment, and signals drain the run.
    """

    def __init__(self) -> None:
        self.telemetry, self.drain = Telemetry(), Drain()
        self._resources = ExitStack()
        # At exit, because the interpreter first joins the server's threads, which would never end.
        atexit.register(self._resources.close)
        sys.excepthook = self._fail
        self.settings, self.arguments = load(), load_arguments()
        configure(self.settings.log_level, self.settings.log_format)
        self._resources.enter_context(self.drain.on_signals(drain_limit(self.settings.epoch_interval)))

    def run(self) -> Run:
        """The run, with its recovery directory locked. Raises RecoveryError if that cannot be used."""
        return Run(
            self.telemetry,
            self.drain,
            exit_at_end=self.arguments.exit_at_end,
            close_all=self.arguments.close_all,
            account_file=self._account_file(),
        )

    def _account_file(self) -> Path | None:
        """The account's file in the recovery directory, which is locked for the life of this process.

        Without a recovery directory: None and a warning.
        """
        folder, number, processes = self._options
        if folder is None:
            get_logger().warning("no recovery: a restart reads the topic from the beginning (add -r DIR -s 1 -b 0)")
            return None
        if processes == 1 and is_new(folder):  # of a cluster another process may have the store
            raise RecoveryError(
                f"no recovery store in {folder}:"
                f" create it with `mkdir -p {folder} && python -m bytewax.recovery {folder} 4`"
            )
        self._resources.enter_context(locked(lock_file(folder, number or None)))
        return folder / ACCOUNT_FILE

    def bind(self) -> None:
        """Bind the recovery directory to this pipeline. Raises RecoveryError if it belongs to another one."""
        if self._options.folder is not None:
            topic, log = self.settings.topic, open_log(self.settings)
            identity = pipeline_identity(self.settings, log.partitions(topic), log.topic_id(topic))
            recovery.bind(self._options.folder, identity)

    def serve(self) -> None:
        """Serve metrics and health for the life of this process, process N at `metrics_port` + N.

        Nothing is served without a recovery directory: there are no durable epochs, and no place for the address.
        """
        settings, (folder, number, processes) = self.settings, self._options
        if folder is None:
            return
        port = settings.metrics_port and settings.metrics_port + number
        # Bytewax assigns partitions to processes: how many this one of several gets is unknown.
        partitions = open_log(settings).partitions(settings.topic) if processes == 1 else 1
        file = worker_file(number) if number else run_record.FILE
        self._resources.enter_context(
            monitored(
                monitoring(settings, port=port),
                self.telemetry,
                folder,
                number=number,
                partitions=partitions,
                file=file,
            )
        )

    def _fail(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """End the run with this error: a hook for uncaught exceptions.

        A ChillFlowError becomes one line, as in commands. With LOG_LEVEL=DEBUG its traceback is shown.
        """
        if threading.current_thread() is not threading.main_thread():  # a thread of Timely: the main one fails too
            sys.__excepthook__(kind, error, trace)
            return
        failure = failure_of(error, in_cluster=self._options.processes > 1, failures=self.telemetry.failures)
        self._resources.__exit__(type(failure), failure, None)
        report_repeats()
        if isinstance(failure, ChillFlowError) and os.environ.get("LOG_LEVEL") != "DEBUG":
            sys.stderr.write(f"error: {failure}\n")
        else:
            sys.__excepthook__(kind, error, trace)

    @cached_property
    def _options(self) -> _BytewaxOptions:
        parser = argparse.ArgumentParser(add_help=False)
        parser.add_argument("-r", "--recovery-directory", default=os.environ.get("BYTEWAX_RECOVERY_DIRECTORY"))
        parser.add_argument("-i", "--process-id", default=os.environ.get("BYTEWAX_PROCESS_ID"))
        parser.add_argument("-a", "--addresses", default=os.environ.get("BYTEWAX_ADDRESSES"))
        given, _ = parser.parse_known_args(sys.argv[1:])
        folder = Path(given.recovery_directory) if given.recovery_directory else None
        return _BytewaxOptions(folder, int(given.process_id or 0), len((given.addresses or "").split(";")))


class _BytewaxOptions(NamedTuple):
    """Options of `bytewax.run`: the recovery directory, the number of this process, and how many there are."""

    folder: Path | None
    number: int
    processes: int
