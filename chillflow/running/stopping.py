"""Graceful shutdown: the first signal requests a drain, which the sources check; the second exits at once.

A thread receives the signals: Python calls handlers in the main thread between two bytecodes, so a call that waits for
a server would delay them.
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
    """Seconds a drain may take: 10, more with long epochs, because a drain takes up to two of them."""
    return max(_LIMIT, _LIMIT / 2 + 2 * epoch_interval.total_seconds())


def too_long(seconds: float) -> str:
    """The error of a drain that exceeds its limit."""
    return (
        f"the run did not drain within {seconds:g} s (is a server unreachable, or another process of the cluster not"
        " stopped?); the next start repeats what was not finished"
    )


class Drain:
    """The request to one run to stop."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._lock = threading.Lock()
        self._limit: float | None = None
        self._alarm: threading.Timer | None = None

    def requested(self) -> bool:
        """Whether the run should stop."""
        return self._requested.is_set()

    def request(self) -> None:
        """Request the stop, and start the time limit of `on_signals`."""
        with self._lock:
            self._requested.set()
            if self._limit is not None and self._alarm is None:
                self._alarm = threading.Timer(self._limit, _give_up, [self._limit])
                self._alarm.daemon = True
                self._alarm.start()

    @contextmanager
    def on_signals(self, limit: float | None = None) -> Iterator[None]:
        """Treat SIGTERM and SIGINT as requests while the body runs, then restore the previous handlers.

        A second signal exits at once. A drain that takes longer than `limit` seconds exits with an error and code 1.
        Does nothing outside the main thread, the only one in which Python allows handlers.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        receiver, wakeup = socket.socketpair()
        wakeup.setblocking(False)
        self._limit = limit
        before_fd = signal.set_wakeup_fd(wakeup.fileno())  # Python writes each signal's number here at once
        before = [(each, signal.signal(each, lambda number, frame: None)) for each in _SIGNALS]
        thread = threading.Thread(target=self._listen, args=(receiver,), daemon=True)
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
            signal.set_wakeup_fd(before_fd)
            wakeup.close()
            thread.join()
            receiver.close()

    def _listen(self, receiver: socket.socket) -> None:
        while received := receiver.recv(1):
            if received[0] in _SIGNALS:
                if self._requested.is_set():
                    os._exit(128 + received[0])  # a second signal: wait for nothing
                self.request()


def _give_up(seconds: float) -> None:
    sys.stderr.write(f"error: {too_long(seconds)}\n")
    sys.stderr.flush()
    os._exit(1)
