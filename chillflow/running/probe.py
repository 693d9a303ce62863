"""Questions to a server that may hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from typing import Generic, TypeVar

from chillflow.errors import ChillFlowError

__all__ = ["Probe"]

T = TypeVar("T")


class Probe(Generic[T]):
    """Asks in a thread of its own, not again before `rest` is over; the answer is waited for `patience` long."""

    def __init__(
        self,
        ask: Callable[[], T],
        *,
        rest: float = 5.0,
        patience: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._rest = rest
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._future: Future[T] | None = None
        self._asked = 0.0

    def answer(self) -> T:
        """The last answer, or a new one if that is old. Raises ChillFlowError, also when it takes too long."""
        with self._lock:
            if self._future is None or (self._future.done() and self._clock() - self._asked > self._rest):
                self._future, self._asked = Future(), self._clock()
                threading.Thread(target=self._work, args=(self._future,), daemon=True).start()
            future, until = self._future, self._asked + self._patience
        try:
            return future.result(max(0.0, until - self._clock()))
        except NoAnswer:
            raise ChillFlowError(f"no answer within {self._patience:g} s") from None

    def _work(self, future: Future[T]) -> None:
        try:
            future.set_result(self._ask())
        except Exception as error:  # for whoever asked
            future.set_exception(error)
