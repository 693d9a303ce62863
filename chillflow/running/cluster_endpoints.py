"""The endpoints of a cluster's launcher: all workers at one address."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from chillflow.errors import ChillFlowError
from chillflow.running import run_record
from chillflow.running.http_client import get
from chillflow.running.http_server import (
    LIVE,
    METRICS,
    READY,
    Readiness,
    Response,
    Server,
    live_response,
    metrics_response,
    ready_response,
)
from chillflow.telemetry.metrics import Metrics

__all__ = ["monitored_cluster", "worker_file"]


def worker_file(number: int) -> str:
    """Name of the file in the recovery directory that holds the address of a worker."""
    return f"worker-{number}.json"


@contextmanager
def monitored_cluster(folder: Path, workers: int, partitions: int, *, host: str, port: int) -> Iterator[None]:
    """Serve a cluster of `workers` workers, which should read all `partitions` partitions, while the body runs it.

    The addresses, and the error that ends the body, are recorded in the recovery directory `folder`.
    """
    _remove_worker_files(folder)
    cluster = _ClusterEndpoints(folder, workers, partitions)
    routes = {METRICS: cluster.metrics, LIVE: live_response, READY: cluster.ready}
    with closing(Server(host, port, routes)) as server, run_record.recorded(folder / run_record.FILE, server.url):
        try:
            yield
        finally:
            _remove_worker_files(folder)


def _remove_worker_files(folder: Path) -> None:
    for path in folder.glob("worker-*.json"):
        path.unlink()


class _ClusterEndpoints:
    def __init__(self, folder: Path, workers: int, partitions: int) -> None:
        self._folder = folder
        self._workers = range(workers)
        self._partitions = set(range(partitions))

    def metrics(self, accept: str) -> Response:
        """The workers' series side by side, not aggregated."""
        merged: dict[str, Metric] = {}
        for number, text in self._query(METRICS).items():
            families = text_string_to_metric_families(text) if text is not None else _down(number)
            for family in families:
                if family.name in merged:
                    merged[family.name].samples += family.samples
                else:
                    merged[family.name] = family
        return metrics_response(accept, merged.values())

    def ready(self, accept: str) -> Response:
        answers: dict[int, Readiness] = {
            number: json.loads(text) if text is not None else {"problems": ["no answer"], "partitions": []}
            for number, text in self._query(READY).items()
        }
        problems = [
            f"worker {number}: {problem}" for number, answer in answers.items() for problem in answer["problems"]
        ]
        read = {number for answer in answers.values() for number in answer["partitions"]}
        if missing := self._partitions - read:
            problems.insert(0, f"sources: no worker reads partition {', '.join(map(str, sorted(missing)))}")
        return ready_response(
            {
                "ready": not problems,
                "problems": problems,
                "warnings": [warning for answer in answers.values() for warning in answer.get("warnings", ())],
                "workers": {str(number): answer for number, answer in answers.items()},
                "partitions": sorted(read),
                "pid": os.getpid(),
            }
        )

    def _query(self, path: str) -> dict[int, str | None]:
        """The body at this path, by worker; None for a worker that does not answer."""

        def query(number: int) -> str | None:
            url = run_record.read(self._folder / worker_file(number)).url
            try:
                return get(url + path)[1] if url is not None else None
            except ChillFlowError:
                return None

        with ThreadPoolExecutor(len(self._workers)) as pool:
            return dict(zip(self._workers, pool.map(query, self._workers), strict=True))


def _down(number: int) -> Iterator[Metric]:
    """`chillflow_worker_up` as 0 for a worker that does not answer."""
    family = next(iter(Metrics().worker_up.collect()))
    family.samples = [sample._replace(labels={"worker": str(number)}, value=0) for sample in family.samples]
    yield family
