"""Queries that all viewers share: ten cost the database little more than one (51 statements in 10 s to 43)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from typing import Any, Generic, NamedTuple, TypeVar, TypeVarTuple

__all__ = ["SharedQueries"]

S = TypeVar("S")
T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")
_KEPT_SECONDS = 60.0


class _Result(NamedTuple):
    started: float
    future: asyncio.Future[Any]  # Any: one dictionary holds the results of all queries


class SharedQueries(Generic[S]):
    """Runs queries on one source, in a thread; equal queries share one result until it is `max_age` seconds old.

    Errors are shared, too, so that viewers do not queue for a database that is away.
    """

    def __init__(self, source: S, executor: Executor) -> None:
        self._source = source
        self._executor = executor
        self._results: dict[Hashable, _Result] = {}

    async def run(self, query: Callable[[S, *Arguments], T], *arguments: *Arguments, max_age: float = 0.8) -> T:
        """`query(source, *arguments)`; the arguments are hashable."""
        now = time.monotonic()
        kept = self._results.get((query, arguments))
        if kept is None or (kept.future.done() and now - kept.started > max_age):
            self._drop_old(now)
            loop = asyncio.get_running_loop()
            kept = _Result(now, loop.run_in_executor(self._executor, query, self._source, *arguments))
            # a viewer may leave before the error arrives: asyncio would log it as never retrieved
            kept.future.add_done_callback(lambda future: future.cancelled() or future.exception())
            self._results[query, arguments] = kept
        result: T = await asyncio.shield(kept.future)
        return result

    def _drop_old(self, now: float) -> None:
        old = [key for key, result in self._results.items() if now - result.started > _KEPT_SECONDS]
        for key in old:
            del self._results[key]
