"""Deliveries of a run: reported by its sinks, read by its endpoints."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from chillflow.telemetry.clocks import Clocks
from chillflow.telemetry.metrics import Metrics

__all__ = ["Deliveries", "SinkName"]

SinkName: TypeAlias = Literal["topics", "table"]

_PATIENCE = 10.0
"""Seconds until a transaction counts as stuck: most take milliseconds, large ones some seconds."""


class Deliveries:
    """The transactions of a run's sinks: those in flight, and the last error of each sink."""

    def __init__(self, metrics: Metrics, clocks: Clocks) -> None:
        self._metrics = metrics
        self._clocks = clocks
        self._lock = threading.Lock()
        self._in_flight: dict[object, tuple[SinkName, float]] = {}
        self._failed: dict[SinkName, str] = {}

    @contextmanager
    def delivering(self, sink: SinkName, records: int) -> Iterator[None]:
        """Measure a transaction of `records` records, from waiting for their delivery to its commit."""
        this, start = object(), self._clocks.monotonic()
        with self._lock:
            self._in_flight[this] = sink, start
        try:
            yield
        except Exception as error:
            self._metrics.delivery_errors.labels(sink).inc()
            self._failed[sink] = str(error)
            raise
        finally:
            with self._lock:
                del self._in_flight[this]
        self._failed.pop(sink, None)
        if records:
            self._metrics.sink_seconds.labels(sink).observe(self._clocks.monotonic() - start)
            self._metrics.sink_records.labels(sink).observe(records)

    def problem(self) -> str | None:
        """The error of a sink's last transaction, or the transaction that is stuck; None if all is well."""
        if failed := [*self._failed.items()]:
            sink, error = failed[0]
            return f"{sink}: {error}"
        with self._lock:
            oldest = min(self._in_flight.values(), key=lambda each: each[1], default=None)
        if oldest is not None and (seconds := self._clocks.monotonic() - oldest[1]) > _PATIENCE:
            return f"{oldest[0]}: in flight for {seconds:.0f} s"
        return None
