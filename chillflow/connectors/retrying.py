"""Retries with a time limit, for all clients; the caller decides which errors to retry."""

from __future__ import annotations

from chillflow.telemetry.clocks import Clocks

__all__ = ["Retrying"]


class Retrying:
    """The time since an operation began, and the pauses between its attempts."""

    def __init__(self, *, pause: float = 0.0, longest: float | None = None, clocks: Clocks = Clocks()) -> None:
        """`pause` is in seconds; with `longest` pauses double up to that."""
        self._pause = pause
        self._longest = pause if longest is None else longest
        self._clocks = clocks
        self._start = clocks.monotonic()
        self.count = 0
        """Retries so far."""

    @property
    def seconds(self) -> float:
        """Time since the first attempt began."""
        return self._clocks.monotonic() - self._start

    def expired(self, limit: float) -> bool:
        """Whether the operation has taken `limit` seconds."""
        return self.seconds >= limit

    def pause(self) -> None:
        """Wait before the next attempt."""
        if self._pause:
            self._clocks.sleep(self._pause)
        self._pause = min(2 * self._pause, self._longest)
        self.count += 1
