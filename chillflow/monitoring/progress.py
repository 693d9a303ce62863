"""How far the sources of this process have come: told by them, asked by the threads that serve it."""

from __future__ import annotations

import time

from chillflow.monitoring.metrics import EPOCH_COMMIT_SECONDS, EPOCH_SECONDS, IN_FLIGHT, LAST_EPOCH, READ, show

__all__ = ["Epochs", "Reading", "epochs", "opened", "readings"]


class Epochs:
    """The epochs of this process, as its sources see them.

    All partitions have their snapshot taken before any of them reads on, and none reads on before the epoch is
    durable on all workers. So the first snapshot ends an epoch, and the first that reads on tells that it stands.
    """

    def __init__(self) -> None:
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
        EPOCH_COMMIT_SECONDS.observe(now - self._ended)
        if self._durable is not None:
            EPOCH_SECONDS.observe(now - self._durable)
        self._ended, self._durable, self.last = None, now, time.time()
        LAST_EPOCH.set(self.last)
        show(LAST_EPOCH)


class Reading:
    """How far one partition has been read."""

    def __init__(self, number: int, position: int, stream_time: int) -> None:
        self.number = number
        self.position = position
        self.stream_time = stream_time
        self._count = self._at_snapshot = self._durable = 0
        self._counter = READ.labels(number)
        IN_FLIGHT.labels(number).set_function(lambda: self._count - self._durable)

    def read(self, count: int, position: int, stream_time: int) -> None:
        """So many messages were read, as far as this."""
        self._count += count
        self._counter.inc(count)
        self.position, self.stream_time = position, stream_time

    def snapshot(self) -> None:
        """The epoch of what was read until now has ended."""
        self._at_snapshot = self._count
        epochs.snapshot()

    def durable(self) -> None:
        """The epoch of the last snapshot is durable."""
        self._durable = self._at_snapshot
        epochs.durable()


epochs = Epochs()
_readings: dict[int, Reading] = {}


def opened(number: int, position: int, stream_time: int) -> Reading:
    """This process reads a partition from now on."""
    reading = _readings[number] = Reading(number, position, stream_time)
    return reading


def readings() -> list[Reading]:
    """The partitions that this process reads, by number."""
    return [_readings[number] for number in sorted(_readings)]
