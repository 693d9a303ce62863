"""The recipes of docs/extending.md, applied to a copy of the program as they are written there, and run."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.pipelines.command import Done, Running
from tests.pipelines.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
TRIPS = 300


@dataclass(frozen=True)
class Copy:
    """A copy of the program with a recipe applied, and a pipeline that runs it."""

    root: Path
    pipeline: Pipeline

    def apply(self, heading: str) -> None:
        """Take all steps of the recipe under this heading."""
        section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
        (recipe,) = [text for text in section if text.startswith(f"{heading}\n")]
        applied = 0
        for language, block in re.findall(r"^```(\w+)\n(.*?)^```", recipe, re.MULTILINE | re.DOTALL):
            first, rest = block.split("\n", 1)
            if language == "diff":
                self._patch(self.root / first, rest)
            else:
                path = self.root / first.removeprefix("# new file: ").removeprefix("-- new file: ")
                assert not path.exists(), path
                path.write_text(rest)
            applied += 1
        assert applied > 1

    def _patch(self, path: Path, diff: str) -> None:
        text = path.read_text()
        for hunk in diff.split("@@\n"):
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] or line for line in lines if line[0] != "+")
            after = "".join(line[1:] or line for line in lines if line[0] != "-")
            assert text.count(before) == 1, f"{path} has not once:\n{before}"
            text = text.replace(before, after)
        path.write_text(text)

    @property
    def changes(self) -> dict[str, Any]:
        coverage = {name: None for name in self.pipeline.environment if name.startswith("COVERAGE_")}
        return {**coverage, "PYTHONPATH": str(self.root)}

    def run(self, *arguments: object, code: int | None = 0) -> Done:
        """The command of the copy."""
        return self.pipeline.python(sys.executable, "-m", "chillflow", *arguments, code=code, **self.changes)

    def start(self, *arguments: object) -> AbstractContextManager[Running]:
        return self.pipeline.start("-m", "chillflow", *arguments, program=sys.executable, **self.changes)

    def produce(self, file: Path) -> dict[str, Any]:
        return self.run("produce-from-file", "--file", file, "--json").json

    def assemble(self) -> dict[str, Any]:
        return self.run("assemble", "--exit-at-end", "--json").account


@pytest.fixture
def copy(embedded: Pipeline, tmp_path: Path) -> Copy:
    root = tmp_path / "program"
    for package in ("chillflow", "dataflows", "stream"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    return Copy(root, embedded)


def values(pipeline: Pipeline, topic: str) -> Iterator[dict[str, Any]]:
    return (message.json for message in pipeline.topics.read(topic))


def test_a_source(copy: Copy, trips_file: Path, tmp_path: Path) -> None:
    copy.apply("A source of trips")
    file = tmp_path / "trips.csv"
    pl.read_parquet(trips_file).write_csv(file)
    with file.open("a") as more:
        more.write("no trip\n")

    assert copy.produce(trips_file)["trips"] == TRIPS
    produced = copy.produce(file)

    assert (produced["trips"], produced["rejected"]) == (TRIPS, 1)
    sent = Counter(event["event_id"] for event in values(copy.pipeline, copy.pipeline.topic))
    assert len(sent) == 5 * TRIPS
    assert {*sent.values()} == {2}, "the same events as from Parquet"


def test_a_sink(copy: Copy, trips_file: Path) -> None:
    copy.apply("A sink")
    pipeline, folder = copy.pipeline, copy.pipeline.folder / "trips"
    copy.run("init-db")

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]

    rate = 5 * TRIPS / 6
    with copy.start("produce-from-file", "--file", trips_file, "--rate", rate, "--shuffle-seconds", 600) as producing:
        producing.wait_for(lambda: bool(pipeline.events()))
        for more in (20, 60):
            with copy.start("assemble") as running:
                running.wait_for(lambda wanted=more: len(pipeline.trips()) > wanted)  # type: ignore[misc]
                running.stop(signal.SIGKILL)
        producing.result()
    copy.assemble()

    written = Counter((trip["trip_key"], trip["revision"]) for trip in lines())
    assert written == Counter((trip["trip_key"], trip["revision"]) for trip in pipeline.trips())
    assert len(written) == TRIPS
    assert {*written.values()} == {1}


def test_a_measure(copy: Copy, trips_file: Path) -> None:
    pipeline = copy.pipeline
    pipeline.run("init-db")
    pipeline.produce(trips_file)
    pipeline.assemble()
    copy.apply("A measure of windows")

    assert copy.run("init-db").stderr == "applied shared_trips\n"
    refused = copy.run("assemble", "--exit-at-end", code=None)
    assert refused.code != 0
    assert "shared_trips" in refused.stderr
    assert "chillflow-stream reset" in refused.stderr
    copy.run("reset", "--yes")
    copy.assemble()

    shared = sum((trip["passenger_count"] or 0) > 1 for trip in pipeline.trips() if trip["revision"] == 1)
    assert shared > 0
    ((in_table,),) = pipeline.query("select sum(shared_trips) from mart.zone_window where window_minutes = 60")
    last = {message.key: message.json for message in pipeline.topics.read(pipeline.windows)}
    in_topic = sum(window["shared_trips"] for window in last.values() if window["window_minutes"] == 60)
    assert in_table == in_topic == shared


def test_an_event_type(copy: Copy, trips_file: Path, tmp_path: Path) -> None:
    copy.apply("An event type")
    pipeline = copy.pipeline
    file = tmp_path / "rated.parquet"
    pl.read_parquet(trips_file).with_row_index("rating").with_columns(pl.col("rating") % 5 + 1).write_parquet(file)
    copy.run("init-db")

    assert copy.produce(file)["events"] == 6 * TRIPS
    (first, *_) = (event for event in values(pipeline, pipeline.topic) if event["event_type"] == "trip_rated")
    partitions = (pipeline.folder / "topics" / pipeline.topic).glob("*.jsonl")
    (partition,) = (path for path in partitions if first["event_id"] in path.read_text())
    lines = partition.read_text().splitlines(keepends=True)
    partition.write_text("".join(line for line in lines if first["event_id"] not in line))
    account = copy.run("assemble", "--exit-at-end", "--close-all", "--json").account

    assert (account["complete_trips"], account["incomplete_trips"]) == (TRIPS - 1, 1)
    ratings = Counter(trip["rating"] for trip in pipeline.trips())
    assert {*ratings} == {1, 2, 3, 4, 5}
    (incomplete,) = values(pipeline, pipeline.incomplete)
    assert (incomplete["trip_key"], incomplete["missing"]) == (first["trip_key"], ["trip_rated"])
    ((rows, rated),) = pipeline.query("select count(*), count(rating) from stg.complete_trip")
    assert rows == rated == TRIPS - 1
