"""The endpoints of one process of `assemble`: /metrics, /livez and /readyz."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from chillflow.connectors.log import End
from chillflow.running import run_record
from chillflow.running.health import HealthChecks
from chillflow.running.http_server import (
    LIVE,
    METRICS,
    READY,
    Response,
    Server,
    live_response,
    metrics_response,
    ready_response,
)
from chillflow.running.lag import Lag
from chillflow.running.recovery import STORE_FILES
from chillflow.telemetry import Telemetry

__all__ = ["Monitoring", "monitored"]


@dataclass(frozen=True)
class Monitoring:
    """The address of a process's endpoints, and what its health depends on."""

    host: str
    port: int
    """0: any free port."""
    epoch_limit: timedelta
    """Maximum age of the last durable epoch."""
    ends: Callable[[], list[End]]
    """Query the ends of all partitions of the events topic. Raises ChillFlowError."""
    check_database: Callable[[], None] | None
    """Raise ChillFlowError if the database does not answer; None if there is no database."""


@contextmanager
def monitored(
    monitoring: Monitoring,
    telemetry: Telemetry,
    folder: Path,
    *,
    number: int = 0,
    partitions: int,
    file: str = run_record.FILE,
) -> Iterator[None]:
    """Serve worker `number`, which should read at least `partitions` partitions, while the body runs it.

    The address, and the error that ends the body, are recorded in `file` of the recovery directory `folder`.
    """
    process = _ProcessEndpoints(monitoring, telemetry, folder, number, partitions)
    routes = {METRICS: process.metrics, LIVE: live_response, READY: process.ready}
    with (
        closing(Server(monitoring.host, monitoring.port, routes)) as server,
        run_record.recorded(folder / file, server.url) as record,
    ):
        if number == 0:
            metrics = telemetry.metrics
            metrics.show(metrics.starts, metrics.store_bytes)
            if file != run_record.FILE:  # in a cluster the launcher's starts count
                record = run_record.read(folder / run_record.FILE)
            metrics.starts.inc(record.starts)
        yield


class _ProcessEndpoints:
    def __init__(
        self, monitoring: Monitoring, telemetry: Telemetry, folder: Path, number: int, partitions: int
    ) -> None:
        self._telemetry = telemetry
        self._folder = folder
        self._number = number
        self._lag = Lag(telemetry, monitoring.ends)
        self._health = HealthChecks(
            telemetry,
            self._lag,
            partitions,
            epoch_limit=monitoring.epoch_limit,
            check_database=monitoring.check_database,
        )

    def metrics(self, accept: str) -> Response:
        metrics = self._telemetry.metrics
        metrics.worker_up.set(1)
        self._telemetry.publish_events()
        self._lag.publish()
        self._health.checks()
        if self._number == 0:
            metrics.store_bytes.set(sum(map(_size, self._folder.glob(f"{STORE_FILES}*"))))
        return metrics_response(accept, metrics.families(str(self._number)))

    def ready(self, accept: str) -> Response:
        checks = self._health.checks()
        problems = [f"{name}: {problem}" for name, problem in checks.items() if problem]
        return ready_response(
            {
                "ready": not problems,
                "problems": problems,
                "warnings": self._health.warnings(),
                "checks": {name: problem or "ok" for name, problem in checks.items()},
                "partitions": [reading.number for reading in self._telemetry.readings],
                "pid": os.getpid(),
            }
        )


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):  # SQLite's journals come and go
        return path.stat().st_size
    return 0
