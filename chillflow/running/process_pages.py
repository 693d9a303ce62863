"""What one process of `assemble` serves of itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from chillflow.running import run_record
from chillflow.running.health import HealthChecks
from chillflow.running.http_server import LIVE, METRICS, READY, Page, Server, json_page, metrics_page
from chillflow.running.lag import Lag
from chillflow.settings import Settings
from chillflow.telemetry import Telemetry

__all__ = ["monitored"]


@contextmanager
def monitored(
    settings: Settings,
    telemetry: Telemetry,
    folder: Path,
    *,
    number: int = 0,
    partitions: int,
    file: str = run_record.FILE,
) -> Iterator[None]:
    """Serve a run while the body runs it, as worker `number`, which is to read at least so many partitions.

    Where that is and how the body ends is kept in `file` of the recovery directory `folder`.
    """
    process = _ProcessPages(settings, telemetry, folder, number, partitions)
    pages = {METRICS: process.metrics, LIVE: process.live, READY: process.ready}
    server = Server(settings.metrics_host, settings.metrics_port, pages)
    kept = run_record.started(folder / file, os.getpid(), server.url)
    if number == 0:
        metrics = telemetry.metrics
        metrics.show(metrics.starts, metrics.store_bytes)
        # in a cluster it is the launcher's start that counts
        metrics.starts.inc(kept.starts if file == run_record.FILE else run_record.read(folder / run_record.FILE).starts)
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
        raise
    finally:
        server.close()
        run_record.stopped(folder / file, failure)


class _ProcessPages:
    def __init__(self, settings: Settings, telemetry: Telemetry, folder: Path, number: int, partitions: int) -> None:
        self._telemetry = telemetry
        self._folder = folder
        self._number = str(number)
        self._lag = Lag(settings, telemetry)
        self._health = HealthChecks(settings, telemetry, self._lag, partitions)

    def metrics(self, accept: str) -> Page:
        metrics = self._telemetry.metrics
        metrics.worker_up.set(1)
        self._telemetry.publish_events()
        self._lag.publish()
        self._health.checks()
        if self._number == "0":
            metrics.store_bytes.set(sum(map(_size, self._folder.glob("part-*.sqlite3*"))))
        return metrics_page(accept, metrics.families(self._number))

    def live(self, accept: str) -> Page:
        return json_page(True, {"live": True})

    def ready(self, accept: str) -> Page:
        checks = self._health.checks()
        problems = [f"{name}: {problem}" for name, problem in checks.items() if problem]
        return json_page(
            not problems,
            {
                "ready": not problems,
                "problems": problems,
                "checks": {name: problem or "ok" for name, problem in checks.items()},
                "partitions": [reading.number for reading in self._telemetry.readings],
                "pid": os.getpid(),
            },
        )


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):  # SQLite's journals come and go
        return path.stat().st_size
    return 0
