"""What `python -m bytewax.run` leaves to the dataflow: its settings, logs, and where it recovers from."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from chillflow.log import configure, get_logger
from chillflow.running.recovery import ACCOUNT_FILE
from chillflow.settings import Settings, load

__all__ = ["account_file", "start"]


def start() -> Settings:
    """The settings of the environment, with the logs as they say."""
    settings = load()
    configure(settings)
    return settings


def account_file() -> Path | None:
    """Where the account is kept: in the recovery directory. Without one, None and a warning."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-r", "--recovery-directory", default=os.environ.get("BYTEWAX_RECOVERY_DIRECTORY"))
    given, _ = parser.parse_known_args(sys.argv[1:])
    if given.recovery_directory:
        return Path(given.recovery_directory) / ACCOUNT_FILE
    get_logger().warning("no recovery: a restart reads the topic from the beginning (add -r DIR -s 1 -b 0)")
    return None
