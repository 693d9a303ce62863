"""What `python -m bytewax.run` leaves to the dataflow: its settings, logs, and where it recovers from."""

from __future__ import annotations

import argparse
import atexit
import os
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from chillflow.connectors import open_log
from chillflow.log import configure, get_logger
from chillflow.monitoring import record
from chillflow.monitoring.cluster import worker_file
from chillflow.monitoring.process import monitored
from chillflow.running import drain, recovery
from chillflow.running.recovery import ACCOUNT_FILE, locked
from chillflow.settings import Settings, load

__all__ = ["account_file", "bind", "serve", "start"]


def start() -> Settings:
    """The settings of the environment, with the logs as they say, and signals that drain."""
    settings = load()
    configure(settings)
    if threading.current_thread() is threading.main_thread():
        drain.install(drain.limit(settings.epoch_interval))
    return settings


def account_file() -> Path | None:
    """Where the account is kept: in the recovery directory, which is locked for the life of this process.

    Without one, None and a warning. Raises RecoveryError if another process of the same number holds it.
    """
    folder, number, _ = _given()
    if folder is None:
        get_logger().warning("no recovery: a restart reads the topic from the beginning (add -r DIR -s 1 -b 0)")
        return None
    _held.enter_context(locked(folder / (f"lock-{number}" if number else "lock")))
    return folder / ACCOUNT_FILE


def bind(settings: Settings) -> None:
    """Refuse a recovery directory that belongs to another pipeline."""
    folder, _, _ = _given()
    if folder is not None:
        log = open_log(settings)
        recovery.bind(folder, settings, log.partitions(settings.topic), log.topic_id(settings.topic))


def serve(settings: Settings) -> None:
    """Serve metrics and health for the life of this process: process N on the port of the settings + N.

    Without a recovery directory there are no durable epochs to tell of, and no place to keep the address.
    """
    folder, number, processes = _given()
    if folder is None:
        return
    if settings.metrics_port:
        settings = settings.model_copy(update={"metrics_port": settings.metrics_port + number})
    partitions = open_log(settings).partitions(settings.topic) if processes == 1 else 1  # of several, who knows
    file = worker_file(number) if number else record.FILE
    _held.enter_context(monitored(settings, folder, number=number, partitions=partitions, file=file))


def _given() -> tuple[Path | None, int, int]:
    """What Bytewax was given: the recovery directory, the number of this process, and of how many."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-r", "--recovery-directory", default=os.environ.get("BYTEWAX_RECOVERY_DIRECTORY"))
    parser.add_argument("-i", "--process-id", default=os.environ.get("BYTEWAX_PROCESS_ID"))
    parser.add_argument("-a", "--addresses", default=os.environ.get("BYTEWAX_ADDRESSES"))
    given, _ = parser.parse_known_args(sys.argv[1:])
    folder = Path(given.recovery_directory) if given.recovery_directory else None
    return folder, int(given.process_id or 0), len((given.addresses or "").split(";"))


_held = ExitStack()
"""Let go when the process ends, before the threads of the server do: it would wait for them for ever."""
atexit.register(_held.close)
