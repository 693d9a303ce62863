"""What the launcher of a cluster serves: all its workers at one address."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from chillflow.errors import ChillFlowError
from chillflow.running import run_record
from chillflow.running.http_client import get
from chillflow.running.http_server import LIVE, METRICS, READY, Page, Server, json_page, metrics_page
from chillflow.settings import Settings
from chillflow.telemetry.metrics import Metrics

__all__ = ["monitored_cluster", "worker_file", "worker_settings"]


def worker_file(number: int) -> str:
    """Where in the recovery directory a worker keeps its own address."""
    return f"worker-{number}.json"


def worker_settings(settings: Settings) -> Settings:
    """The settings of a worker: it is served to the launcher alone."""
    return settings.model_copy(update={"metrics_host": "127.0.0.1", "metrics_port": 0})


@contextmanager
def monitored_cluster(settings: Settings, workers: int, partitions: int) -> Iterator[None]:
    """Serve a cluster of so many workers, which are to read so many partitions, while the body runs it."""
    folder = settings.recovery_dir
    _forget_workers(folder)
    cluster = _Cluster(folder, workers, partitions)
    pages = {METRICS: cluster.metrics, LIVE: cluster.live, READY: cluster.ready}
    server = Server(settings.metrics_host, settings.metrics_port, pages)
    run_record.started(folder / run_record.FILE, os.getpid(), server.url)
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
        raise
    finally:
        server.close()
        _forget_workers(folder)
        run_record.stopped(folder / run_record.FILE, failure)


def _forget_workers(folder: Path) -> None:
    for path in folder.glob("worker-*.json"):
        path.unlink()


class _Cluster:
    def __init__(self, folder: Path, workers: int, partitions: int) -> None:
        self._folder = folder
        self._workers = range(workers)
        self._partitions = set(range(partitions))

    def metrics(self, accept: str) -> Page:
        """The workers' series side by side, none added up."""
        merged: dict[str, Metric] = {}
        for number, text in self._ask(METRICS).items():
            families = text_string_to_metric_families(text) if text is not None else _is_down(number)
            for family in families:
                if family.name in merged:
                    merged[family.name].samples += family.samples
                else:
                    merged[family.name] = family
        return metrics_page(accept, merged.values())

    def live(self, accept: str) -> Page:
        return json_page(True, {"live": True})

    def ready(self, accept: str) -> Page:
        answers = {
            number: json.loads(text) if text is not None else {"problems": ["no answer"], "partitions": []}
            for number, text in self._ask(READY).items()
        }
        problems = [
            f"worker {number}: {problem}" for number, answer in answers.items() for problem in answer["problems"]
        ]
        read = {number for answer in answers.values() for number in answer["partitions"]}
        if missing := self._partitions - read:
            problems.insert(0, f"sources: no worker reads partition {', '.join(map(str, sorted(missing)))}")
        body: dict[str, Any] = {
            "ready": not problems,
            "problems": problems,
            "workers": {str(number): answer for number, answer in answers.items()},
            "partitions": sorted(read),
            "pid": os.getpid(),
        }
        return json_page(not problems, body)

    def _ask(self, page: str) -> dict[int, str | None]:
        """A page of each worker, None of one that does not answer."""

        def ask(number: int) -> str | None:
            url = run_record.read(self._folder / worker_file(number)).url
            try:
                return get(url + page)[1] if url is not None else None
            except ChillFlowError:
                return None

        with ThreadPoolExecutor(len(self._workers)) as pool:
            return dict(zip(self._workers, pool.map(ask, self._workers), strict=True))


def _is_down(number: int) -> Iterator[Metric]:
    family = next(iter(Metrics().worker_up.collect()))
    family.samples = [sample._replace(labels={"worker": str(number)}, value=0) for sample in family.samples]
    yield family
