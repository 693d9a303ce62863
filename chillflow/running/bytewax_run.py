"""What `python -m bytewax.run` leaves to the dataflow: its settings, logs, and where it recovers from."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from chillflow.log import configure, get_logger
from chillflow.running import drain
from chillflow.running.recovery import ACCOUNT_FILE, locked
from chillflow.settings import Settings, load

__all__ = ["account_file", "start"]


def start() -> Settings:
    """The settings of the environment, with the logs as they say, and signals that drain."""
    settings = load()
    configure(settings)
    if threading.current_thread() is threading.main_thread():
        drain.install()
    return settings


def account_file() -> Path | None:
    """Where the account is kept: in the recovery directory, which is locked for the life of this process.

    Without one, None and a warning. Raises RecoveryError if another process of the same number holds it.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-r", "--recovery-directory", default=os.environ.get("BYTEWAX_RECOVERY_DIRECTORY"))
    parser.add_argument("-i", "--process-id", default=os.environ.get("BYTEWAX_PROCESS_ID"))
    given, _ = parser.parse_known_args(sys.argv[1:])
    if not given.recovery_directory:
        get_logger().warning("no recovery: a restart reads the topic from the beginning (add -r DIR -s 1 -b 0)")
        return None
    folder = Path(given.recovery_directory)
    number = int(given.process_id or 0)
    _held.enter_context(locked(folder / (f"lock-{number}" if number else "lock")))
    return folder / ACCOUNT_FILE


_held = ExitStack()
"""Let go by the system when the process ends."""
