"""Writes in a background thread: while a server works, the flow goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread

__all__ = ["BackgroundWriter", "pause_after"]

_LONGEST_SECONDS = 1.0
"""Results become visible by then even in a replay, which may be at its end."""


def pause_after(took: float, *, share: float, least: float) -> float:
    """Seconds to pause after work that took `took` seconds, so that the work takes at most `share` of the time.

    At least `least`, and at most one second.
    """
    return min(max(least, took / share), _LONGEST_SECONDS)


class BackgroundWriter:
    """A daemon thread for the calls of one client, one call at a time and in order."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Callable[[], object], Future[None]] | None] = SimpleQueue()
        self._running: Future[None] | None = None
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def start(self, work: Callable[[], object]) -> None:
        """Start this call once the last one is done. Raises the error of the last one."""
        self.wait()
        self._running = Future()
        self._queue.put((work, self._running))

    def wait(self) -> None:
        """Wait until no call is running. Raises the error of the last one."""
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def end(self, work: Callable[[], object]) -> None:
        """Make this the last call, and wait at most a second for it: a call may be waiting for a lost server."""
        self._queue.put((work, Future()))
        self._queue.put(None)
        self._thread.join(1)

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            work, done = call
            try:
                work()
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)
