"""Queries of a server that may hang."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from chillflow.errors import ChillFlowError

__all__ = ["Probe"]

T = TypeVar("T")


def _wait(future: Future[T], seconds: float) -> bool:
    return bool(concurrent.futures.wait([future], seconds).done)


class Probe(Generic[T]):
    """Calls `query` in its own thread, at most every `interval` seconds, and waits up to `timeout` seconds for it.

    `wait` waits up to some seconds for a future, and returns whether it is done.
    """

    def __init__(
        self,
        query: Callable[[], T],
        *,
        interval: float = 5.0,
        timeout: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[Future[T], float], bool] = _wait,
    ) -> None:
        self._query = query
        self._interval = interval
        self._timeout = timeout
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._future: Future[T] | None = None
        self._started = 0.0

    def answer(self) -> T:
        """The last answer, or a new one once that is `interval` seconds old.

        Raises the error of `query`, or ChillFlowError if there is no answer in time.
        """
        with self._lock:
            if self._future is None or (self._future.done() and self._clock() - self._started > self._interval):
                self._future, self._started = Future(), self._clock()
                threading.Thread(target=self._work, args=(self._future,), daemon=True).start()
            future, until = self._future, self._started + self._timeout
        if not self._wait(future, max(0.0, until - self._clock())):
            raise ChillFlowError(f"no answer within {self._timeout:g} s")
        return future.result()

    def problem(self) -> str | None:
        """The error of `answer`, or None."""
        try:
            self.answer()
        except ChillFlowError as error:
            return str(error)
        return None

    def _work(self, future: Future[T]) -> None:
        try:
            future.set_result(self._query())
        except Exception as error:  # raised by `answer`
            future.set_exception(error)
