"""How far this process is in its partitions: their watermarks, and the lag behind their ends."""

from __future__ import annotations

from collections.abc import Callable

from chillflow.connectors.log import End
from chillflow.errors import ChillFlowError
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.running.probe import Probe
from chillflow.telemetry import Telemetry
from chillflow.telemetry.progress import Reading

__all__ = ["Lag"]


class Lag:
    """The lag of the partitions that this process reads; `ends` queries the log, and may hang or raise."""

    def __init__(self, telemetry: Telemetry, ends: Callable[[], list[End]]) -> None:
        self._telemetry = telemetry
        self._ends = Probe(ends)

    def problem(self) -> str | None:
        """The reason why the ends are unknown, or None."""
        return self._ends.problem()

    def publish(self) -> None:
        """Set the metrics of lag and watermarks. An unknown value is absent: any number would be a guess."""
        try:
            ends = self._ends.answer()
        except ChillFlowError:
            ends = []
        metrics = self._telemetry.metrics
        with metrics.lock:
            metrics.lag_offsets.clear()
            metrics.lag_seconds.clear()
            metrics.watermark.clear()
            for reading in self._telemetry.readings:
                if (watermark := reading.watermark) != NO_WATERMARK:
                    metrics.watermark.labels(reading.number).set(watermark / 1000)
            for reading in self._telemetry.readings if ends else ():
                end = ends[reading.number]
                # the end may be some seconds old
                metrics.lag_offsets.labels(reading.number).set(max(0, end.offset - reading.position))
                if (seconds := _seconds_behind(reading, end)) is not None:
                    metrics.lag_seconds.labels(reading.number).set(seconds)


def _seconds_behind(reading: Reading, end: End) -> float | None:
    if reading.position >= end.offset:
        return 0.0
    if reading.watermark == NO_WATERMARK or end.newest is None:
        return None
    return max(0.0, (end.newest - reading.watermark) / 1000)
