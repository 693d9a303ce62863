"""A client of the endpoints of `assemble`."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from chillflow.running.http_server import Readiness
from tests.pipelines.pipeline import Pipeline


def url_of(pipeline: Pipeline, folder: Path | None = None) -> str | None:
    """The address of the run, once it is served."""
    file = (folder or pipeline.folder / "recovery") / "monitoring.json"
    return json.loads(file.read_text())["url"] if file.exists() else None


def get(url: str, timeout: float = 20) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()


class Seen:
    """The samples of one scrape."""

    def __init__(self, url: str) -> None:
        code, self.text = get(f"{url}/metrics")
        assert code == 200, self.text
        self.samples = [sample for family in text_string_to_metric_families(self.text) for sample in family.samples]

    def find(self, name: str, **labels: str) -> list[tuple[Mapping[str, str], float]]:
        """The samples of this name with at least these labels."""
        return [
            (each.labels, each.value)
            for each in self.samples
            if each.name == f"chillflow_{name}" and labels.items() <= each.labels.items()
        ]

    def total(self, name: str, **labels: str) -> float:
        """The sum of their values."""
        return sum(value for _, value in self.find(name, **labels))

    def one(self, name: str, **labels: str) -> float:
        """The value of the only sample."""
        ((_, value),) = self.find(name, **labels)
        return value


def is_ready(url: str | None) -> bool:
    """Whether the run is served and ready."""
    try:
        return url is not None and get(f"{url}/readyz")[0] == 200
    except OSError:
        return False


def problems(url: str) -> list[str]:
    """The problems in /readyz, none if the run is ready."""
    code, text = get(f"{url}/readyz")
    body: Readiness = json.loads(text)
    assert body["ready"] == (code == 200) == (not body["problems"])
    return body["problems"]
