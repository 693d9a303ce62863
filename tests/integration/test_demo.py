"""The demo, and generated trips."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
from pathlib import Path
from typing import Any

import polars as pl

from chillflow.cli.demo.window_checks import read_windows
from tests.pipelines.command import COMMAND
from tests.pipelines.pipeline import Pipeline

BARE: dict[str, Any] = {"KAFKA_BOOTSTRAP_SERVERS": None, "DATABASE_URL": None, "CHILLFLOW_RECOVERY_DIR": None}
CHECKS = 12
README = (Path(__file__).parents[2] / "README.md").read_text()


def number(lines: list[str], name: str) -> int:
    """The number in the row of this name."""
    (line,) = (line for line in lines if line.startswith(f"   {name}  "))
    return int(line.removeprefix(f"   {name}").split()[0].replace(",", ""))


def checks(lines: list[str]) -> list[str]:
    return [line for line in lines if re.search(r"  (ok|WRONG)$", line)]


def test_the_demo_adds_up_and_shows_how_to_continue(embedded: Pipeline) -> None:
    on_path = f"{COMMAND.parent}{os.pathsep}{embedded.environment['PATH']}"
    done = embedded.run("demo", PATH=on_path, **BARE)

    lines = done.lines
    assert done.stderr == ""
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in done.stdout
    assert number(lines, "trips") == 20_000
    assert number(lines, "events sent") == 100_000 + number(lines, "events sent twice") - number(
        lines, "events dropped"
    )
    assert number(lines, "complete trips") + number(lines, "incomplete trips") == 20_000
    assert 0 < number(lines, "incomplete trips") < number(lines, "events dropped")
    assert 0 < number(lines, "trip_started") < number(lines, "incomplete trips")
    assert number(lines, "JFK Airport") > 500
    assert len(checks(lines)) == CHECKS
    assert "WRONG" not in done.stdout
    (shown,) = re.findall(r"Part of the demo's output [^\n]*:\n\n```text\n(.*?)```", README, re.DOTALL)
    assert {*shown.splitlines()} <= {*lines}

    (folder,) = (embedded.folder / ".chillflow").iterdir()
    embedded.environment = {name: value for name, value in embedded.environment.items() if name not in BARE}
    commands = [line for line in lines if line.startswith("export ") or "chillflow-stream " in line]
    assert str(folder.relative_to(embedded.folder)) in commands[0]
    said = {}
    for command in commands:
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            embedded.environment[name] = value
        else:
            said[command.partition("chillflow-stream ")[2]] = embedded.run(*shlex.split(command)[1:])
    assert '"missing":["' in said["consume-events --topic incomplete-trips -n 1"].stdout
    assert len(said["consume-events --topic zone-windows -n 3"].lines) == 3
    assert "WRONG" not in said["doctor"].stdout
    complete = f"{number(lines, 'complete trips'):,} complete trips"
    assert complete in said["assemble --exit-at-end --close-all --workers 2"].stderr


def test_wrong_windows_are_found(embedded: Pipeline) -> None:
    embedded.run("demo", "--trips", 200, "--folder", "here", **BARE)
    file = embedded.folder / "here" / "trips.sqlite"
    before = read_windows(file, "America/New_York")
    with sqlite3.connect(file) as connection:
        connection.execute("update mart_zone_window set tip_amount = tip_amount + 0.01 where rowid in (3, 7)")
        connection.execute("delete from mart_zone_window where rowid = 9")

    after = read_windows(file, "America/New_York")

    assert [each.expected - each.found for each in before.checks] == [0, 0, 0]
    assert [each.expected - each.found for each in after.checks] == [1, -3, 0]


def test_the_demo_takes_a_file_and_a_new_folder_each_time(embedded: Pipeline, trips_file: Path) -> None:
    for _ in range(2):
        done = embedded.run("demo", "--file", trips_file, "--trips", 250, **BARE)
        assert done.lines[0].startswith("250 of your 300 trips: ")
        assert len(checks(done.lines)) == CHECKS
    assert len(list((embedded.folder / ".chillflow").iterdir())) == 2
    embedded.run("demo", "--file", trips_file, "--folder", "here", **BARE)
    assert "is not empty" in embedded.fail("demo", "--folder", "here", **BARE)


def test_the_demo_rejects_bad_rows(embedded: Pipeline, trips_file: Path) -> None:
    trips = pl.read_parquet(trips_file).with_row_index()
    bad = trips.with_columns(passenger_count=pl.when(pl.col("index") == 5).then(1.5).otherwise("passenger_count"))
    bad.drop("index").write_parquet(embedded.folder / "bad.parquet")

    lines = embedded.run("demo", "--file", "bad.parquet", **BARE).lines

    assert number(lines, "rows rejected") == 1
    assert number(lines, "trips") == 299
    assert len(checks(lines)) == CHECKS


def test_charts_are_ascii_where_blocks_cannot_be_encoded(embedded: Pipeline) -> None:
    done = embedded.process("demo", "--trips", 500, "--days", 1, PYTHONIOENCODING="ascii", **BARE)

    assert re.search(r"^   \w.{30} +\d+ #{30}$", done.stdout, re.MULTILINE)
    assert done.stdout.isascii()


def test_a_seed_always_generates_the_same_trips(embedded: Pipeline) -> None:
    for name in ("one", "two"):
        embedded.run("generate", "--trips", 500, "--seed", 3, "--out", f"made/{name}.parquet", "--service", "green")

    one, two = (pl.read_parquet(embedded.folder / "made" / f"{name}.parquet") for name in ("one", "two"))
    assert one.equals(two)
    assert len(one) == 500
