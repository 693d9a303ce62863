"""The recovery directory: changing the number of workers, one owner, and the loss of the store."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from chillflow.synthetic.trip_generator import generate
from tests.chaos.processes import family
from tests.pipelines.command import Running
from tests.pipelines.pipeline import Pipeline
from tests.servers._process import command_line, free_port, wait_until


def test_one_three_and_two_workers_keep_everything(pipeline: Pipeline) -> None:
    """Each run is drained with many trips open."""
    pipeline.run("init-db")
    pipeline.run("create-topic")
    generate(pipeline.folder / "many.parquet", 10_000)  # more than the test takes
    with pipeline.start("produce-from-file", "--file", "many.parquet", "--rate", 200, "--json") as replay:
        for workers in (1, 3, 2):
            before = pipeline.rows()
            with pipeline.start("assemble", "--workers", workers) as assembling:
                assembling.wait_for(lambda before=before: pipeline.rows() > before)  # type: ignore[misc]
                assert assembling.stop().code == 0
        sent = replay.stop().json
    summary = pipeline.assemble("--workers", 3)

    assert summary["events"] == sent["delivered"]
    trips = pipeline.trips()
    assert summary["complete_trips"] == len(trips) == len({trip["trip_key"] for trip in trips}) == pipeline.rows()
    assert summary["complete_trips"] + summary["open_trips"] == len({event.key for event in pipeline.events()})


def test_a_store_that_was_lost(pipeline: Pipeline, trips_file: Path) -> None:
    pipeline.run("init-db")
    pipeline.produce(trips_file, "--limit", 200)
    with pipeline.start("assemble", "--workers", 2) as assembling:
        assembling.wait_for(lambda: bool(pipeline.trips()))
        processes = family(assembling.process.pid)
        assembling.process.kill()
        assembling.result()
    assert wait_until(lambda: not any(map(command_line, processes)), timeout=10)
    before = pipeline.topics.read(pipeline.complete)
    shutil.rmtree(pipeline.folder / "recovery")
    pipeline.produce(trips_file)
    done = pipeline.run("assemble", "--exit-at-end", "--json")

    assert done.account["events"] == 2500
    assert f"the recovery store is new, but there are results in {pipeline.complete}" in done.stderr
    after = pipeline.topics.read(pipeline.complete)
    assert {(each.partition, each.offset, each.value) for each in before} <= {
        (each.partition, each.offset, each.value) for each in after
    }
    assert len({each.key for each in after}) == len(after) == pipeline.rows() == 300


def test_when_a_worker_dies_all_end(pipeline: Pipeline, trips_file: Path) -> None:
    pipeline.run("init-db")
    pipeline.produce(trips_file)
    pipeline.topics.send(pipeline.topic, b"k", b"no event")
    with pipeline.start("assemble", "--workers", 3) as assembling:
        assembling.wait_for(lambda: pipeline.rows() == 300 and "dead letter" in assembling.stderr.read_text())
        _launcher, *workers = family(assembling.process.pid)
        (second,) = (each for each in workers if "chillflow.operation.worker 1 " in command_line(each))
        os.kill(second, signal.SIGKILL)
        ended = assembling.result(within=20)

    assert ended.code == 1
    lines = ended.stderr.splitlines()
    assert lines[-1].startswith("error: worker ")
    assert "failed, all were stopped: " in lines[-1]
    assert all(line.startswith(("[worker 0] ", "[worker 1] ", "[worker 2] ")) for line in lines[:-1])
    assert any("dead letter" in line for line in lines[:-1])
    assert wait_until(lambda: not any(map(command_line, workers)), timeout=5)
    assert pipeline.assemble()["complete_trips"] == len(pipeline.trips()) == 300


def test_two_clusters_under_bytewax_itself(embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("init-db")
    embedded.produce(trips_file)
    store = embedded.folder / "store"
    store.mkdir()
    embedded.python(sys.executable, "-m", "bytewax.recovery", store, 2)

    with ExitStack() as stack:

        def cluster() -> list[Running]:
            addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(2))
            run = ["-m", "bytewax.run", "dataflows.assemble", "-r", store, "-s", 1, "-b", 0, "-a", addresses]
            return [
                stack.enter_context(embedded.start(*run, "-i", number, program=sys.executable)) for number in range(2)
            ]

        first = cluster()
        first[0].wait_for(lambda: embedded.rows() == 300)
        for number, each in enumerate(cluster()):
            refused = each.result(within=30)
            assert refused.code == 1
            refusals = [line for line in refused.stderr.splitlines() if "another `assemble` runs on" in line]
            assert len(refusals) == 1, (number, refused.stderr)
        for each in first:
            each.process.send_signal(signal.SIGTERM)
        assert {each.result(within=20).code for each in first} <= {0, 1}
    assert len(embedded.trips()) == 300


def test_bytewax_itself_drains(embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("init-db")
    embedded.produce(trips_file)
    store = embedded.folder / "store"
    store.mkdir()
    embedded.python(sys.executable, "-m", "bytewax.recovery", store, 1)
    run = ["-m", "bytewax.run", "dataflows.assemble", "-r", store, "-s", 1, "-b", 0]
    with embedded.start(*run, program=sys.executable) as assembling:
        assembling.wait_for(lambda: embedded.rows() == 300)
        ended = assembling.stop()

    assert ended.code == 0, ended.stderr
    assert ended.stderr == ""
    embedded.produce(trips_file, "--limit", 10)
    embedded.python(sys.executable, *run, CHILLFLOW_EXIT_AT_END="1")
    assert '"events": 1550' in (store / "account.json").read_text()
