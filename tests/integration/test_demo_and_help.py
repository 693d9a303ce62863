"""What a newcomer meets first: the demo, `--help` and `--version`."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.integration.cli import Pipeline

COMMANDS = [
    "demo",
    "produce-events",
    "produce-from-file",
    "generate",
    "assemble",
    "consume-events",
    "create-topic",
    "init-db",
    "load-trips",
    "dead-letters list",
    "dead-letters replay",
]
BARE: dict[str, Any] = {"KAFKA_BOOTSTRAP_SERVERS": None, "DATABASE_URL": None, "CHILLFLOW_RECOVERY_DIR": None}


def test_the_demo_adds_up(embedded: Pipeline) -> None:
    done = embedded.run("demo", **BARE)

    assert max(map(len, done.lines)) <= 80
    assert not re.search("Traceback|WARNING|Error", done.stderr)
    checks = [line for line in done.lines if re.search(r" (ok|WRONG)$", line)]
    assert len(checks) == 5
    assert all(line.endswith(" ok") for line in checks)
    assert "trips sent, trips complete               20,000         20,000  ok" in done.stdout
    assert [line[0] for line in done.lines if line[0].isdigit()] == ["1", "2", "3", "4", "5", "6"]
    folder = embedded.folder / next((embedded.folder / ".chillflow").iterdir())
    looked = embedded.run(
        *("consume-events", "--topic", "complete-trips", "-n", 3, "--exit-at-end"),
        KAFKA_BOOTSTRAP_SERVERS=f"file:{folder / 'topics'}",
    )
    assert len(looked.lines) == 3


def test_the_demo_takes_a_file(embedded: Pipeline, trips_file: Path) -> None:
    done = embedded.run("demo", "--file", trips_file, "--folder", "here", **BARE)

    assert "trips sent, trips complete                  300            300  ok" in done.stdout
    assert "is not empty" in embedded.fail("demo", "--folder", "here", **BARE)


def test_the_demo_leaves_out_bad_rows(embedded: Pipeline, trips_file: Path) -> None:
    trips = pl.read_parquet(trips_file).with_row_index()
    bad = trips.with_columns(passenger_count=pl.when(pl.col("index") == 5).then(1.5).otherwise("passenger_count"))
    bad.drop("index").write_parquet(embedded.folder / "bad.parquet")

    done = embedded.run("demo", "--file", "bad.parquet", **BARE)

    assert "trips sent, trips complete                  299            299  ok" in done.stdout


def test_generated_trips_are_the_same_each_time(embedded: Pipeline) -> None:
    for name in ("one", "two"):
        embedded.run("generate", "--trips", 500, "--seed", 3, "--out", f"made/{name}.parquet", "--service", "green")

    one, two = (pl.read_parquet(embedded.folder / "made" / f"{name}.parquet") for name in ("one", "two"))
    assert one.equals(two)
    assert len(one) == 500


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(embedded: Pipeline, command: str) -> None:
    done = embedded.run(*command.split(), "--help")

    example = " ".join(done.stdout.partition("Example: ")[2].split())
    assert f"chillflow-stream {command}" in example
    assert done.stderr == ""
    assert "--debug" in done.stdout


def test_help_lists_every_command(embedded: Pipeline) -> None:
    shown = embedded.run("--help").stdout

    assert set(re.findall(r"^│ ([a-z]+(?:-[a-z]+)*)  ", shown, re.MULTILINE)) == {
        command.split()[0] for command in COMMANDS
    }


def test_the_version(embedded: Pipeline) -> None:
    assert embedded.run("--version").stdout.strip() == version("chillflow-stream")


def test_the_command_alone_shows_its_help(embedded: Pipeline) -> None:
    done = embedded.run(code=None)

    assert done.code in (0, 2)
    assert "Usage: chillflow-stream" in done.stdout + done.stderr
