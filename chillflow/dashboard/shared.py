"""Answers that all viewers share: ten of them ask the database no more than one does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from typing import Any, NamedTuple, TypeVar

__all__ = ["Shared"]

T = TypeVar("T")
_KEPT_SECONDS = 60.0


class _Answer(NamedTuple):
    asked: float
    future: asyncio.Future[Any]


class Shared:
    """Puts questions to one source, in a thread: each not again before its last answer is `fresh` seconds old.

    An error is an answer, too: a database that is away is not asked by each viewer in turn.
    """

    def __init__(self, source: Any, executor: Executor) -> None:
        self._source = source
        self._executor = executor
        self._answers: dict[Hashable, _Answer] = {}
        self.asked = 0
        """Questions that were put to the source."""

    async def ask(self, question: Callable[..., T], *values: Hashable, fresh: float = 0.8) -> T:
        """`question(source, *values)`, as it was answered to somebody a moment ago or as it is now."""
        now = time.monotonic()
        held = self._answers.get((question, values))
        if held is None or (held.future.done() and now - held.asked > fresh):
            self._forget(now)
            loop = asyncio.get_running_loop()
            held = _Answer(now, loop.run_in_executor(self._executor, question, self._source, *values))
            held.future.add_done_callback(lambda future: future.cancelled() or future.exception())  # it may be nobody's
            self._answers[question, values] = held
            self.asked += 1
        answer: T = await asyncio.shield(held.future)
        return answer

    def _forget(self, now: float) -> None:
        """What nobody has asked for a while, such as the windows that somebody has played through."""
        old = [key for key, answer in self._answers.items() if now - answer.asked > _KEPT_SECONDS]
        for key in old:
            del self._answers[key]
