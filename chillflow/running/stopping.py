"""Stopping in good order: a signal asks a run to drain, which its sources see; a second signal stops at once.

Signals are heard by a thread. Python's own handlers run in the main thread, and only between two calls: one that
waits for a server would keep them waiting, too.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

__all__ = ["Drain", "drain_limit", "too_long"]

_LIMIT = 10.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def drain_limit(epoch_interval: timedelta) -> float:
    """Seconds that a drain may take: 10, or more where an epoch takes long, for it lasts for up to two."""
    return max(_LIMIT, _LIMIT / 2 + 2 * epoch_interval.total_seconds())


def too_long(seconds: float) -> str:
    """The error of a drain that takes longer than its limit."""
    return (
        f"what was under way did not end within {seconds:g} s of being asked to stop (is a server away?);"
        " the next start does it again"
    )


class Drain:
    """Whether one run is asked to stop."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._lock = threading.Lock()
        self._limit: float | None = None
        self._alarm: threading.Timer | None = None

    def requested(self) -> bool:
        """Whether the run is to stop."""
        return self._requested.is_set()

    def request(self) -> None:
        """Ask the run to stop. From then on the limit of `on_signals` counts."""
        with self._lock:
            self._requested.set()
            if self._limit is not None and self._alarm is None:
                self._alarm = threading.Timer(self._limit, _give_up, [self._limit])
                self._alarm.daemon = True
                self._alarm.start()

    @contextmanager
    def on_signals(self, limit: float | None = None) -> Iterator[None]:
        """Take SIGTERM and SIGINT as requests while the body runs; handlers of before are put back at its end.

        A second signal ends the process at once, and so does a drain that takes longer than `limit` seconds: with an
        error, and exit code 1. Only the main thread hears signals: in another one nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        listener, heard = socket.socketpair()
        heard.setblocking(False)
        self._limit = limit
        wakeup = signal.set_wakeup_fd(heard.fileno())  # where Python writes the number of each signal at once
        before = [(each, signal.signal(each, lambda number, frame: None)) for each in _SIGNALS]
        thread = threading.Thread(target=self._listen, args=(listener,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._limit = None
                if self._alarm is not None:
                    self._alarm.cancel()
            for each, handler in before:
                signal.signal(each, handler)
            signal.set_wakeup_fd(wakeup)
            heard.close()
            thread.join()
            listener.close()

    def _listen(self, listener: socket.socket) -> None:
        while heard := listener.recv(1):
            if heard[0] in _SIGNALS:
                if self._requested.is_set():
                    os._exit(128 + heard[0])  # asked twice: nothing is worth waiting for
                self.request()


def _give_up(seconds: float) -> None:
    sys.stderr.write(f"error: {too_long(seconds)}\n")
    sys.stderr.flush()
    os._exit(1)
