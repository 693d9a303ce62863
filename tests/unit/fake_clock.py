"""A clock that only a test advances, or a sleep."""

from __future__ import annotations

from chillflow.telemetry.clocks import Clocks


class FakeClock:
    """The time in seconds, the same for all three clocks."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    @property
    def clocks(self) -> Clocks:
        return Clocks(lambda: self.now, lambda: self.now, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
