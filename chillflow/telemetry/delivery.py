"""How the sinks of a run fare: told by them, asked by the threads that serve it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from chillflow.telemetry.metrics import Metrics

__all__ = ["Deliveries", "SinkName"]

SinkName: TypeAlias = Literal["topics", "table"]

_PATIENCE = 10.0
"""A transaction that takes longer is stuck: one takes some milliseconds, a large one some seconds."""


class Deliveries:
    """The transactions of a run's sinks: those under way, and how the last ones ended."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: dict[object, tuple[SinkName, float]] = {}
        self._failed: dict[SinkName, str] = {}

    @contextmanager
    def delivering(self, sink: SinkName, records: int) -> Iterator[None]:
        """Around a transaction of so many records, from waiting for their delivery to its commit."""
        this, start = object(), self._clock()
        with self._lock:
            self._under_way[this] = sink, start
        try:
            yield
        except Exception as error:
            self._metrics.delivery_errors.labels(sink).inc()
            self._failed[sink] = str(error)
            raise
        finally:
            with self._lock:
                del self._under_way[this]
        self._failed.pop(sink, None)
        if records:
            self._metrics.sink_seconds.labels(sink).observe(self._clock() - start)
            self._metrics.sink_records.labels(sink).observe(records)

    def problem(self) -> str | None:
        """What is wrong with the last delivery, if anything is."""
        with self._lock:
            oldest = min(self._under_way.values(), key=lambda each: each[1], default=None)
        for sink, error in [*self._failed.items()]:
            return f"{sink}: {error}"
        if oldest is not None and (seconds := self._clock() - oldest[1]) > _PATIENCE:
            return f"{oldest[0]}: under way for {seconds:.0f} s"
        return None
