"""What one process of `assemble` serves of itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from chillflow.monitoring import events, record
from chillflow.monitoring.health import Health
from chillflow.monitoring.lag import Lag
from chillflow.monitoring.metrics import STARTS, STORE_BYTES, WORKER_UP, families, show
from chillflow.monitoring.progress import readings
from chillflow.monitoring.server import LIVE, METRICS, READY, Page, Server, json_page, metrics_page
from chillflow.settings import Settings

__all__ = ["monitored"]


@contextmanager
def monitored(
    settings: Settings, folder: Path, *, number: int = 0, partitions: int, file: str = record.FILE
) -> Iterator[None]:
    """Serve this process while the body runs: worker `number`, which is to read at least so many partitions.

    Where that is and how the body ends is kept in `file` of the recovery directory `folder`.
    """
    process = _Process(settings, folder, number, partitions)
    pages = {METRICS: process.metrics, LIVE: process.live, READY: process.ready}
    server = Server(settings.metrics_host, settings.metrics_port, pages)
    kept = record.started(folder / file, os.getpid(), server.url)
    if number == 0:
        show(STARTS, STORE_BYTES)
        # in a cluster it is the launcher's start that counts
        STARTS.inc(kept.starts if file == record.FILE else record.read(folder / record.FILE).starts)
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
        raise
    finally:
        server.close()
        record.stopped(folder / file, failure)


class _Process:
    def __init__(self, settings: Settings, folder: Path, number: int, partitions: int) -> None:
        self._folder = folder
        self._number = str(number)
        self._lag = Lag(settings)
        self._health = Health(settings, self._lag, partitions)

    def metrics(self, accept: str) -> Page:
        WORKER_UP.set(1)
        events.publish()
        self._lag.publish()
        self._health.checks()
        if self._number == "0":
            STORE_BYTES.set(sum(map(_size, self._folder.glob("part-*.sqlite3*"))))
        return metrics_page(accept, families(self._number))

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
                "partitions": [reading.number for reading in readings()],
                "pid": os.getpid(),
            },
        )


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):  # SQLite's journals come and go
        return path.stat().st_size
    return 0
