"""Writes in a background thread, so that the flow continues while a server works."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread

__all__ = ["BackgroundWriter", "pause_after"]

_LONGEST_SECONDS = 1.0
"""The longest pause: results become visible within it, even at the end of a replay."""


def pause_after(took: float, *, share: float, least: float) -> float:
    """Seconds to pause after `took` seconds of work, so that work takes at most `share` of the time.

    At least `least`, and at most one second.
    """
    return min(max(least, took / share), _LONGEST_SECONDS)


class BackgroundWriter:
    """A daemon thread that makes the calls of one client, one at a time and in order."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Callable[[], object], Future[None]] | None] = SimpleQueue()
        self._running: Future[None] | None = None
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def start(self, work: Callable[[], object]) -> None:
        """Wait for the previous call, then start this one. Raises the error of the previous one."""
        self.wait()
        self._running = Future()
        self._queue.put((work, self._running))

    def wait(self) -> None:
        """Wait for the call in progress. Raises its error."""
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def end(self, work: Callable[[], object]) -> None:
        """Make a last call and end the thread. Waits at most a second: a call may be waiting for a lost server."""
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
