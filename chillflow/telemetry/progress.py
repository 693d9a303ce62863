"""Progress of a run: reported by its sources, read by its endpoints."""

from __future__ import annotations

from chillflow.telemetry.clocks import Clocks
from chillflow.telemetry.metrics import Metrics

__all__ = ["Epochs", "Reading"]


class Epochs:
    """The epochs of a run, as its sources observe them.

    All partitions are snapshotted before any reads on, and none reads on before the epoch is durable on all workers.
    So the first snapshot ends an epoch, and the first read after it proves the epoch durable.
    """

    def __init__(self, metrics: Metrics, clocks: Clocks) -> None:
        self._metrics = metrics
        self._clocks = clocks
        self._ended: float | None = None
        self._durable: float | None = None
        self.last: float | None = None
        """When an epoch was last known to be durable, seconds since 1970."""

    def snapshot(self) -> None:
        """Report the snapshot of a partition."""
        if self._ended is None:
            self._ended = self._clocks.monotonic()

    def durable(self) -> None:
        """Report that a partition reads on after a snapshot."""
        if self._ended is None:
            return  # another partition has reported this epoch
        now = self._clocks.monotonic()
        self._metrics.epoch_commit_seconds.observe(now - self._ended)
        if self._durable is not None:
            self._metrics.epoch_seconds.observe(now - self._durable)
        self._ended, self._durable, self.last = None, now, self._clocks.wall()
        self._metrics.last_epoch.set(self.last)
        self._metrics.show(self._metrics.last_epoch)

    @property
    def age(self) -> float | None:
        """Seconds since an epoch was last known to be durable."""
        return None if self._durable is None else self._clocks.monotonic() - self._durable


class Reading:
    """The progress of one partition: `position` is an offset, `watermark` in ms since 1970."""

    def __init__(self, metrics: Metrics, epochs: Epochs, number: int, position: int, watermark: int) -> None:
        self.number = number
        self.position = position
        self.watermark = watermark
        self._epochs = epochs
        self._count = self._at_snapshot = self._durable = 0
        self._counter = metrics.read.labels(number)
        self._candidates = metrics.watermark_candidates.labels(number)
        metrics.in_flight.labels(number).set_function(lambda: self._count - self._durable)

    def read(self, count: int, position: int, watermark: int) -> None:
        """Report that `count` messages were read, up to this position and watermark."""
        self._count += count
        self._counter.inc(count)
        self.position, self.watermark = position, watermark

    def candidates_rejected(self, count: int) -> None:
        """Report that so many events, more than a day ahead of the watermark, were judged to have wrong clocks."""
        self._candidates.inc(count)

    def snapshot(self) -> None:
        """Report a snapshot, which ends the epoch of the messages read so far."""
        self._at_snapshot = self._count
        self._epochs.snapshot()

    def durable(self) -> None:
        """Report that the epoch of the last snapshot is durable."""
        self._durable = self._at_snapshot
        self._epochs.durable()
