"""How far behind the end of its partitions this process is."""

from __future__ import annotations

from datetime import timedelta

from chillflow.connectors import open_log
from chillflow.connectors.log import End
from chillflow.errors import ChillFlowError
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.running.probe import Probe
from chillflow.settings import Settings
from chillflow.telemetry import Telemetry
from chillflow.telemetry.progress import Reading

__all__ = ["Lag"]

_TIMEOUT = timedelta(seconds=2)


class Lag:
    """Asks the log where its partitions end, with a client of its own: those of the sources are in other threads."""

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        log = open_log(settings.model_copy(update={"kafka_timeout": _TIMEOUT, "outage_limit": _TIMEOUT}))
        self._ends = Probe(lambda: log.ends(settings.topic))

    def problem(self) -> str | None:
        """Why the log does not say, if it does not."""
        try:
            self._ends.answer()
        except ChillFlowError as error:
            return str(error)
        return None

    def publish(self) -> None:
        """Set the metrics of lag. What is not known is absent: a number would be a guess."""
        try:
            ends = self._ends.answer()
        except ChillFlowError:
            ends = []
        metrics = self._telemetry.metrics
        with metrics.lock:
            metrics.lag_offsets.clear()
            metrics.lag_seconds.clear()
            for reading in self._telemetry.readings if ends else ():
                end = ends[reading.number]
                # the reader may have passed an end that was asked for some seconds ago
                metrics.lag_offsets.labels(reading.number).set(max(0, end.offset - reading.position))
                if (seconds := _seconds_behind(reading, end)) is not None:
                    metrics.lag_seconds.labels(reading.number).set(seconds)


def _seconds_behind(reading: Reading, end: End) -> float | None:
    if reading.position >= end.offset:
        return 0.0
    if reading.stream_time == NO_WATERMARK or end.newest is None:
        return None
    return max(0.0, (end.newest - reading.stream_time) / 1000)
