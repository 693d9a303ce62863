"""One piece of work at a time, in a thread beside the flow: while a server works, the flow goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread

__all__ = ["BackgroundWriter", "pause_after"]

_LONGEST_SECONDS = 1.0
"""What has come is made visible by then even in a replay, which may end."""


def pause_after(took: float, *, share: float, least: float) -> float:
    """Seconds to wait after work that took so long, that it take no more than a share of the time; at most one."""
    return min(max(least, took / share), _LONGEST_SECONDS)


class BackgroundWriter:
    """A thread for the calls of one client. It ends with the process, whatever it waits for."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[tuple[Callable[[], object], Future[None]] | None] = SimpleQueue()
        self._under_way: Future[None] | None = None
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def start(self, work: Callable[[], object]) -> None:
        """Begin this when the last is done. Raises what that one raised."""
        self.wait()
        self._under_way = Future()
        self._asked.put((work, self._under_way))

    def wait(self) -> None:
        """Until nothing is under way. Raises what it raised."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def end(self, work: Callable[[], object]) -> None:
        """Do this last. It is waited for no longer than a second: what is under way may wait for a server in vain."""
        self._asked.put((work, Future()))
        self._asked.put(None)
        self._thread.join(1)

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            work, done = asked
            try:
                work()
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)
