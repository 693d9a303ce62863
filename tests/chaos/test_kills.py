"""kill -9 at random moments, any number of times: the same results as of a run that nobody disturbs.

`CHILLFLOW_KILLS` sets how many (`make chaos`: 100), `CHILLFLOW_SEED` repeats a run that failed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from tests.integration import windows
from tests.integration.cli import Pipeline
from tests.integration.conftest import embedded, on_servers, pipeline  # noqa: F401

KILLS = int(os.environ.get("CHILLFLOW_KILLS", "4"))
SEED = int(os.environ.get("CHILLFLOW_SEED", "1"))
DISORDER = ["--shuffle-seconds", "3600", "--duplicates", "0.05", "--drop", "0.01", "--late", "0.01", "--seed", "3"]


@pytest.mark.timeout(60 + 30 * KILLS)
def test_killed_workers_write_everything_once(pipeline: Pipeline, data_dir: Path) -> None:  # noqa: F811
    pipeline.run("init-db")
    pipeline.produce(data_dir / "green_tripdata_2024-01.parquet", *DISORDER)
    expected = pipeline.assemble(
        DATABASE_URL=None,
        CHILLFLOW_RECOVERY_DIR=str(pipeline.folder / "undisturbed"),
        CHILLFLOW_COMPLETE_TOPIC=f"{pipeline.complete}-undisturbed",
        CHILLFLOW_INCOMPLETE_TOPIC=f"{pipeline.incomplete}-undisturbed",
        CHILLFLOW_WINDOWS_TOPIC=f"{pipeline.windows}-undisturbed",
        # its late events and dead letters go where those of the disturbed run go, which finds them standing there
    )
    late = pipeline.topics.read(f"{pipeline.topic}.late")

    chance = random.Random(SEED)
    for _ in range(KILLS):
        workers = chance.choice((1, 1, 2))
        with pipeline.start("assemble", "--workers", workers) as running:
            time.sleep(chance.uniform(0.8, 4.0))
            launcher = running.process.pid
            os.kill(chance.choice([launcher, *_children(launcher)]), signal.SIGKILL)
            assert running.result().code in (1, -signal.SIGKILL)  # of a cluster, the others are stopped
    summary = pipeline.assemble()

    assert {**summary, "seconds": 0} == {**expected, "seconds": 0}
    for topic in (pipeline.complete, pipeline.incomplete):
        undisturbed = Counter((each.key, each.value) for each in pipeline.topics.read(f"{topic}-undisturbed"))
        disturbed = Counter((each.key, each.value) for each in pipeline.topics.read(topic))
        assert disturbed == undisturbed, f"CHILLFLOW_SEED={SEED}"
        assert max(disturbed.values()) == 1
    assert len(pipeline.topics.read(f"{pipeline.topic}.late")) == len(late) == summary["late"]
    _tables_hold_the_last_revisions(pipeline)
    exact = windows.expected(pipeline.trips())
    assert_frame_equal(windows.in_topic(pipeline), exact)
    assert_frame_equal(windows.in_table(pipeline), exact)


def _tables_hold_the_last_revisions(pipeline: Pipeline) -> None:  # noqa: F811
    last: dict[str, int] = {}
    for trip in pipeline.trips():
        last[trip["trip_key"]] = max(trip["revision"], last.get(trip["trip_key"], 0))
    assert dict(pipeline.query("select trip_key, revision from stg.complete_trip")) == last
    incomplete = {json.loads(each.value or b"")["trip_key"] for each in pipeline.topics.read(pipeline.incomplete)}
    table = dict(pipeline.query("select trip_key, completed from stg.incomplete_trip"))
    assert table.keys() == incomplete
    assert {key for key, completed in table.items() if completed} == incomplete & last.keys()


def _children(process: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]
