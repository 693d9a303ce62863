"""How far the sources of a run have come: told by them, asked by the threads that serve it."""

from __future__ import annotations

import time
from collections.abc import Callable

from chillflow.telemetry.metrics import Metrics

__all__ = ["Epochs", "Reading"]


class Epochs:
    """The epochs of a run, as its sources see them.

    All partitions have their snapshot taken before any of them reads on, and none reads on before the epoch is
    durable on all workers. So the first snapshot ends an epoch, and the first that reads on tells that it stands.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        self._metrics = metrics
        self._clock = clock
        self._ended: float | None = None
        self._durable: float | None = None
        self.last: float | None = None
        """When an epoch was last known to be durable, seconds since 1970."""

    def snapshot(self) -> None:
        """A snapshot of a partition is taken."""
        if self._ended is None:
            self._ended = time.monotonic()

    def durable(self) -> None:
        """A partition reads on after a snapshot."""
        if self._ended is None:
            return  # another partition has told already
        now = time.monotonic()
        self._metrics.epoch_commit_seconds.observe(now - self._ended)
        if self._durable is not None:
            self._metrics.epoch_seconds.observe(now - self._durable)
        self._ended, self._durable, self.last = None, now, self._clock()
        self._metrics.last_epoch.set(self.last)
        self._metrics.show(self._metrics.last_epoch)

    @property
    def age(self) -> float | None:
        """Seconds since an epoch was last known to be durable."""
        return None if self.last is None else self._clock() - self.last


class Reading:
    """How far one partition has been read."""

    def __init__(self, metrics: Metrics, epochs: Epochs, number: int, position: int, stream_time: int) -> None:
        self.number = number
        self.position = position
        self.stream_time = stream_time
        self._epochs = epochs
        self._count = self._at_snapshot = self._durable = 0
        self._counter = metrics.read.labels(number)
        metrics.in_flight.labels(number).set_function(lambda: self._count - self._durable)

    def read(self, count: int, position: int, stream_time: int) -> None:
        """So many messages were read, as far as this."""
        self._count += count
        self._counter.inc(count)
        self.position, self.stream_time = position, stream_time

    def snapshot(self) -> None:
        """The epoch of what was read until now has ended."""
        self._at_snapshot = self._count
        self._epochs.snapshot()

    def durable(self) -> None:
        """The epoch of the last snapshot is durable."""
        self._durable = self._at_snapshot
        self._epochs.durable()
