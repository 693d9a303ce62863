"""Stopping in good order: a signal sets a flag that the sources ask; a second signal stops at once.

Signals are heard by a thread. Python's own handlers run in the main thread, and only between two calls: one that
waits for a server would keep them waiting, too.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from datetime import timedelta

__all__ = ["done", "install", "limit", "requested", "too_long"]

_LIMIT = 10.0
_requested = threading.Event()
_lock = threading.Lock()
_heard: socket.socket | None = None
"""Where Python writes the number of each signal at once."""
_limit: float | None = None
_alarm: threading.Timer | None = None


def requested() -> bool:
    """Whether a signal has asked to stop."""
    return _requested.is_set()


def limit(epoch_interval: timedelta) -> float:
    """Seconds that a drain may take: 10, or more where an epoch takes long, for it lasts for up to two."""
    return max(_LIMIT, _LIMIT / 2 + 2 * epoch_interval.total_seconds())


def too_long(seconds: float) -> str:
    """What is said of a drain that takes longer than its limit."""
    return (
        f"what was under way did not end within {seconds:g} s of being asked to stop (is a server away?);"
        " the next start does it again"
    )


def install(seconds: float | None = None) -> None:
    """Take SIGTERM and SIGINT as a request to drain. Only the main thread can.

    With `seconds`, what is not drained so long after the signal ends with an error; `done` says that it is.
    """
    global _heard, _limit
    _requested.clear()
    _limit = seconds
    if _heard is None:
        listener, _heard = socket.socketpair()
        _heard.setblocking(False)
        threading.Thread(target=_listen, args=(listener,), daemon=True).start()
    signal.set_wakeup_fd(_heard.fileno())
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda number, frame: None)


def done() -> None:
    """Nothing is to be drained any more."""
    global _limit
    with _lock:
        _limit = None
        if _alarm is not None:
            _alarm.cancel()


def _listen(listener: socket.socket) -> None:
    while True:
        (number,) = listener.recv(1)
        if number in (signal.SIGTERM, signal.SIGINT):
            _on_signal(number)


def _on_signal(number: int) -> None:
    global _alarm
    with _lock:
        if _requested.is_set():
            os._exit(128 + number)  # asked twice: nothing is worth waiting for
        _requested.set()
        if _limit is not None:
            _alarm = threading.Timer(_limit, _give_up, [_limit])
            _alarm.daemon = True
            _alarm.start()


def _give_up(seconds: float) -> None:
    sys.stderr.write(f"error: {too_long(seconds)}\n")
    sys.stderr.flush()
    os._exit(1)
