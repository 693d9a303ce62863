"""A histogram that records many equal observations at the cost of one."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

__all__ = ["BatchHistogram"]


class BatchHistogram(Collector):
    """Like the client's Histogram, which takes single observations only (0.7 µs each), but without labels."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Sequence[str] = (),
        *,
        registry: CollectorRegistry | None,
        buckets: Sequence[float],
    ) -> None:
        assert not labelnames
        self._name, self._documentation = name, documentation
        self._bounds = (*buckets, float("inf"))
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        self._lock = threading.Lock()
        if registry is not None:
            registry.register(self)

    def observe(self, value: float, times: int) -> None:
        """Add `times` observations of this value."""
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += times
            self._sum += value * times

    def collect(self) -> Iterator[Metric]:
        """The metric family, for the registry."""
        with self._lock:
            counts, total = [*accumulate(self._counts)], self._sum
        names = [*map(str, self._bounds[:-1]), "+Inf"]
        buckets = [(name, float(count)) for name, count in zip(names, counts, strict=True)]
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=total)
