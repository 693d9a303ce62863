"""The dataflows under Bytewax's own runner, from a folder that is not the checkout."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.pipelines.pipeline import Pipeline


def test_the_assembly_with_recovery(embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("init-db")
    embedded.produce(trips_file, "--limit", 200)
    store = embedded.folder / "store"
    store.mkdir()
    embedded.python(sys.executable, "-m", "bytewax.recovery", store, 1)
    run = [sys.executable, "-m", "bytewax.run", "dataflows.assemble", "-r", store, "-s", 1, "-b", 0]

    first = embedded.python(*run, CHILLFLOW_EXIT_AT_END="1")
    assert first.stderr == first.stdout == ""
    assert len(embedded.trips()) == embedded.rows() == 200
    embedded.produce(trips_file)
    embedded.python(*run, CHILLFLOW_EXIT_AT_END="1")

    assert len(embedded.trips()) == embedded.rows() == 300
    assert '"events": 2500' in (store / "account.json").read_text()


def test_the_assembly_without_recovery_says_what_that_means(pipeline: Pipeline, trips_file: Path) -> None:
    pipeline.produce(trips_file)

    done = pipeline.python(
        sys.executable,
        *("-m", "bytewax.run", "dataflows.assemble", "-s", 1),
        CHILLFLOW_EXIT_AT_END="1",
        DATABASE_URL=None,
    )

    assert len(pipeline.trips()) == 300
    (line,) = done.stderr.splitlines()
    assert "warning" in line
    assert "no recovery: a restart reads the topic from the beginning (add -r DIR -s 1 -b 0)" in line


def test_the_assembly_closes_what_is_open(embedded: Pipeline, trips_file: Path) -> None:
    embedded.produce(trips_file, "--drop", 0.5)

    embedded.python(
        sys.executable,
        *("-m", "bytewax.run", "dataflows.assemble", "-s", 1),
        CHILLFLOW_EXIT_AT_END="1",
        CHILLFLOW_CLOSE_ALL="1",
        DATABASE_URL=None,
    )

    trips, incomplete = embedded.trips(), embedded.topics.read(embedded.incomplete)
    assert trips
    assert incomplete
    events = len({event.key for event in embedded.events()})
    assert len(trips) + len(incomplete) == events


def test_the_production_of_a_file_and_of_the_table(embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("init-db")
    embedded.run("load-trips", "--file", trips_file)

    done = [
        embedded.python(
            sys.executable,
            *("-m", "bytewax.run", "dataflows.produce"),
            CHILLFLOW_INPUT=given,
            CHILLFLOW_TOPIC=f"{embedded.topic}-{name}",
        )
        for name, given in (("file", str(trips_file)), ("db", "db"))
    ]

    assert [each.stderr for each in done] == ["", ""]
    from_file, from_table = (
        sorted(event.value or b"" for event in embedded.topics.read(f"{embedded.topic}-{name}"))
        for name in ("file", "db")
    )
    assert from_file == from_table
    assert len(from_file) == 1500


def test_no_input_is_an_error_with_a_reason(embedded: Pipeline) -> None:
    done = embedded.python(sys.executable, "-m", "bytewax.run", "dataflows.produce", code=1)

    assert done.reason == "no input: set CHILLFLOW_INPUT to the path of a parquet file, or to `db`"


def test_a_missing_topic_is_an_error_with_a_reason(embedded: Pipeline) -> None:
    done = embedded.python(
        sys.executable, "-m", "bytewax.run", "dataflows.assemble", code=1, CHILLFLOW_CREATE_TOPICS="0"
    )

    assert "no topic 'trip-events'" in done.stderr.splitlines()[-1]


def test_a_missing_store_is_an_error_with_the_command_that_creates_it(embedded: Pipeline) -> None:
    run = ("-m", "bytewax.run", "dataflows.assemble", "-r", "store", "-s", 1, "-b", 0)
    done = embedded.python(sys.executable, *run, code=1)

    expected = "no recovery store in store: create it with `mkdir -p store && python -m bytewax.recovery store 4`"
    assert done.reason == expected


def test_the_error_that_ends_a_run_is_one_line_and_recorded(embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("init-db")
    embedded.produce(trips_file)
    embedded.query("alter table stg.complete_trip rename column trip_key to renamed")
    store = embedded.folder / "store"
    store.mkdir()
    embedded.python(sys.executable, "-m", "bytewax.recovery", store, 1)

    run = ("-m", "bytewax.run", "dataflows.assemble", "-r", store, "-s", 1, "-b", 0)
    done = embedded.python(sys.executable, *run, code=1)

    error = done.stderr.splitlines()[-1].removeprefix("error: ")
    assert "no column named trip_key" in error
    assert embedded.fail("status", "--recovery-dir", store).endswith(f"(the last error: {error})")
