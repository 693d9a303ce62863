"""What `assemble` serves, as its clients see it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.cli import Pipeline


def url_of(pipeline: Pipeline, folder: Path | None = None) -> str | None:
    """Where it is served, once it is."""
    file = (folder or pipeline.folder / "recovery") / "monitoring.json"
    return json.loads(file.read_text())["url"] if file.exists() else None


def get(url: str, timeout: float = 20) -> tuple[int, str]:
    """Status and text."""
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
        """Their values added up."""
        return sum(value for _, value in self.find(name, **labels))

    def one(self, name: str, **labels: str) -> float:
        """The value of the only one."""
        ((_, value),) = self.find(name, **labels)
        return value


def is_ready(url: str | None) -> bool:
    """Whether it is served and says that it is ready."""
    try:
        return url is not None and get(f"{url}/readyz")[0] == 200
    except OSError:
        return False


def problems(url: str) -> list[str]:
    """What /readyz names, none if it is ready."""
    code, text = get(f"{url}/readyz")
    said: dict[str, Any] = json.loads(text)
    assert said["ready"] == (code == 200) == (not said["problems"])
    return list(said["problems"])
