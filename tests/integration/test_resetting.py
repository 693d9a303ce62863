"""`reset` removes state and results, and the next run recreates them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from chillflow.synthetic.trip_generator import generate
from tests.integration import windows
from tests.pipelines.command import COMMAND, Running
from tests.pipelines.pipeline import Pipeline

BAD = ("--trip-timeout", "1min", "--incomplete-horizon", "1min", "--correction-horizon", "1min")
"""Too short for events in disorder: the results are wrong."""


class Results(NamedTuple):
    """All results of assembly, sorted."""

    topics: dict[str, list[tuple[Any, ...]]]
    tables: dict[str, list[tuple[Any, ...]]]
    windows: pl.DataFrame
    account: dict[str, Any]


def assembled(pipeline: Pipeline, *arguments: object) -> Results:
    account = pipeline.assemble("--close-all", *arguments)
    topics = {}
    for name in (pipeline.complete, pipeline.incomplete, f"{pipeline.topic}.late", pipeline.dlq):
        topics[name] = sorted((each.partition, each.key, each.value) for each in pipeline.topics.read(name))
    tables = {}
    for table in ("stg.complete_trip", "stg.incomplete_trip"):
        columns = "trip_key, revision, pickup_ts, dropoff_ts, pu_zone_id, do_zone_id"
        tables[table] = pipeline.query(f"select {columns} from {table} order by trip_key")
    seen = windows.in_table(pipeline)
    assert seen.equals(windows.in_topic(pipeline))
    return Results(topics, tables, seen, {name: count for name, count in account.items() if name != "seconds"})


def same(one: Results, other: Results) -> bool:
    return one[:2] == other[:2] and one.windows.equals(other.windows) and one.account == other.account


def test_reprocessing_after_a_fix(pipeline: Pipeline, trips_file: Path) -> None:
    pipeline.run("init-db")
    pipeline.produce(
        *(trips_file, "--shuffle-seconds", 7200, "--duplicates", 0.05, "--drop", 0.02, "--late", 0.01, "--seed", 5)
    )
    pipeline.topics.send(pipeline.topic, b"somebody", b"no event", timestamp=1704100000000)
    right = assembled(pipeline)
    loaded = pipeline.folder / "loaded.parquet"
    generate(loaded, 20, seed=99)
    pipeline.run("load-trips", "--file", loaded)
    recovery = pipeline.folder / "recovery"

    done = pipeline.run("reset", "--yes")

    assert "removed: the recovery store, " in done.stderr
    assert f"{len(right.tables['stg.complete_trip']):,} rows of stg.complete_trip" in done.stderr
    assert not recovery.exists()
    assert [pipeline.topics.read(name) for name in right.topics] == [[], [], [], []]
    assert pipeline.query("select distinct source from stg.complete_trip") == [("load",)]
    assert pipeline.rows() == 20
    assert pipeline.query("select count(*) from stg.incomplete_trip") == [(0,)]
    assert windows.in_table(pipeline).is_empty()

    assert not same(right, wrong := assembled(pipeline, *BAD))
    assert wrong.account["late"] > right.account["late"]
    pipeline.run("reset", "--yes")
    again = assembled(pipeline)
    again.tables["stg.complete_trip"] = [
        row for row in again.tables["stg.complete_trip"] if row in right.tables["stg.complete_trip"]
    ]
    assert pipeline.rows() == 20 + len(right.tables["stg.complete_trip"])
    assert same(right, again)


def test_a_new_store_rewrites_no_existing_result(pipeline: Pipeline, trips_file: Path) -> None:
    pipeline.run("init-db")
    pipeline.produce(trips_file)
    first = pipeline.run("assemble", "--exit-at-end", "--json")
    before = pipeline.topics.read(pipeline.complete)
    resumed = pipeline.run("assemble", "--exit-at-end")

    anew = pipeline.run("assemble", "--exit-at-end", "--json", CHILLFLOW_RECOVERY_DIR=str(pipeline.folder / "new"))

    assert "warning" not in first.stderr + resumed.stderr
    (warning,) = (line for line in anew.stderr.splitlines() if line.startswith("warning: "))
    assert f"there are results in {pipeline.complete}: a trip already written there is not written again" in warning
    assert anew.account["complete_trips"] == 300
    assert pipeline.topics.read(pipeline.complete) == before


def test_a_running_assemble_refuses_a_reset(pipeline: Pipeline, trips_file: Path) -> None:
    pipeline.run("init-db")
    pipeline.run("create-topic")

    def has_all(assembling: Running) -> None:
        assembling.wait_for(lambda: len(pipeline.trips()) == 300)

    with pipeline.start("assemble") as assembling:
        pipeline.produce(trips_file)
        has_all(assembling)
        said = pipeline.fail("reset", "--yes")
        assert said.startswith("another `assemble` runs on ")
        has_all(assembling)
        assert assembling.stop().code == 0
    assert pipeline.rows() == 300
    assert len(pipeline.trips()) == 300


def test_it_asks_for_confirmation(embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("init-db")
    embedded.produce(trips_file)
    embedded.assemble()
    embedded.environment["DATABASE_URL"] = embedded.database

    def answered(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(COMMAND), "reset"],
            cwd=embedded.folder,
            env=embedded.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    for answer in ("", "n\n", "\n"):
        refused = answered(answer)
        assert refused.returncode == 1
        assert refused.stdout.strip() == ""
        assert embedded.rows() == len(embedded.trips()) == 300
    assert "complete-trips, incomplete-trips, trip-events.late, trip-events.dlq, zone-windows" in refused.stderr
    assert answered("y\n").returncode == 0
    assert embedded.rows() == len(embedded.trips()) == 0


def test_the_password_is_not_shown(embedded: Pipeline) -> None:
    done = embedded.run("reset", code=1, DATABASE_URL="postgresql://me:secret@db.example:5432/trips")

    assert "postgresql://db.example:5432/trips" in done.stderr
    assert "secret" not in done.stderr


def test_other_files_in_the_directory_stay(embedded: Pipeline, trips_file: Path) -> None:
    embedded.produce(trips_file)
    embedded.assemble(DATABASE_URL=None)
    notes = embedded.folder / "recovery" / "notes.txt"
    notes.write_text("mine")

    embedded.run("reset", "--yes", DATABASE_URL=None)

    assert [*notes.parent.iterdir()] == [notes]


def test_it_is_idempotent(embedded: Pipeline) -> None:
    assert embedded.fail("reset", "--yes", DATABASE_URL=None).startswith("no topic 'trip-events'")
    embedded.run("create-topic")
    for _ in range(2):
        embedded.run("reset", "--yes", DATABASE_URL=None)
