"""Production that is killed and restarted sends each event at least once; the trips are those of one run."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from chillflow.synthetic.trip_generator import generate
from tests.pipelines.pipeline import Pipeline
from tests.pipelines.topics import Read

pytestmark = pytest.mark.long

SEED = int(os.environ.get("CHILLFLOW_SEED", "1"))
TRIPS = 4_000
DAYS = 12
"""Longer than any state is kept: events sent again are duplicates or late."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("production") / "trips.parquet"
    generate(path, TRIPS, days=DAYS)
    return path


def test_killed_production_is_repeated_in_full(pipeline: Pipeline, file: Path) -> None:
    chance = random.Random(SEED)
    pipeline.run("init-db")
    pipeline.run("create-topic")
    expected = [event["event_id"] for event in map(_json, _dry_run(pipeline, file))]
    assert len(expected) == len({*expected}) == 5 * TRIPS
    ends = [0]
    for _ in range(3):
        with pipeline.start("produce-from-file", "--file", file, "--rate", TRIPS / 4) as replay:
            replay.wait_for(lambda: len(pipeline.events()) > ends[-1])
            time.sleep(chance.uniform(0.1, 2))
            assert replay.stop(signal.SIGKILL).code == -signal.SIGKILL
        ends.append(len(pipeline.events()))
    whole = pipeline.produce(file)

    found = Counter(event.json["event_id"] for event in pipeline.events())
    assert found.keys() == {*expected}
    assert found.total() >= ends[-1] + whole["delivered"] > len(expected)  # the broker may accept what was in flight
    summary = pipeline.assemble()
    assert summary["events"] == found.total()
    assert summary["duplicates"] + summary["late"] == found.total() - len(expected)
    assert summary["complete_trips"] == TRIPS
    assert _trips(pipeline.topics.read(pipeline.complete)) == _trips_of_one_run(pipeline, file)
    assert pipeline.rows() == TRIPS


def _dry_run(pipeline: Pipeline, file: Path) -> list[str]:
    return pipeline.run("produce-from-file", "--file", file, "--dry-run").lines


def _trips(messages: list[Read]) -> Counter[tuple[bytes | None, bytes | None]]:
    return Counter((each.key, each.value) for each in messages)


def _trips_of_one_run(pipeline: Pipeline, file: Path) -> Counter[tuple[bytes | None, bytes | None]]:
    elsewhere = {
        "DATABASE_URL": None,
        "CHILLFLOW_TOPIC": f"{pipeline.topic}-once",
        "CHILLFLOW_COMPLETE_TOPIC": f"{pipeline.complete}-once",
        "CHILLFLOW_INCOMPLETE_TOPIC": f"{pipeline.incomplete}-once",
        "CHILLFLOW_WINDOWS_TOPIC": f"{pipeline.windows}-once",
        "CHILLFLOW_RECOVERY_DIR": str(pipeline.folder / "once"),
    }
    pipeline.produce(file, **elsewhere)
    pipeline.assemble(**elsewhere)
    return _trips(pipeline.topics.read(f"{pipeline.complete}-once"))


def _json(line: str) -> dict[str, str]:
    event: dict[str, str] = json.loads(line)
    return event
