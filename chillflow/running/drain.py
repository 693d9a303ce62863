"""Stopping in good order: a signal sets a flag that the sources ask; a second signal stops at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

__all__ = ["install", "requested"]

_requested = threading.Event()


def requested() -> bool:
    """Whether a signal has asked to stop."""
    return _requested.is_set()


def install() -> None:
    """Take SIGTERM and SIGINT as a request to drain. Only the main thread can."""
    _requested.clear()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if _requested.is_set():
            os._exit(128 + number)  # asked twice: nothing is worth waiting for
        _requested.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
