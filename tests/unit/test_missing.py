"""Skips of tests with missing requirements: counted at the end with how to get them; in CI some are failures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest
from tests.missing import missing

@pytest.fixture(scope="session")
def server():
    missing("Kafka", "install Java", "Kafka ended: no memory\\nand a log", ci_has_it=True)

@pytest.mark.parametrize("number", range(3))
def test_on_a_server(server, number): ...

def test_with_a_tool():
    missing("promtool", "apt-get install prometheus")

@pytest.mark.skip(reason="not today")
def test_skipped(): ...

def test_run(): ...
"""


def run(folder: Path, *arguments: str, ci: str = "") -> str:
    """The output of pytest for tests that mostly lack something."""
    (folder / "conftest.py").write_text('pytest_plugins = ["tests.missing"]\n')
    (folder / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "--rootdir", str(folder), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {"CI": ci, "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == bool(ci), done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("processes", ["0", "2"])
def test_the_report_counts_skips_by_requirement(tmp_path: Path, processes: str) -> None:
    shown = run(tmp_path, "--numprocesses", processes)

    assert re.findall(r"^.* skipped for want of .*: .*$", shown, re.MULTILINE) == [
        "3 tests skipped for want of Kafka: install Java",
        "1 test skipped for want of promtool: apt-get install prometheus",
    ]
    assert re.search(r"test_some\.py:\d+: needs Kafka: install Java — Kafka ended: no memory$", shown, re.MULTILINE)
    assert "test_some.py:13: needs promtool: apt-get install prometheus\n" in shown
    assert "1 passed, 5 skipped" in shown


def test_in_ci_a_requirement_that_ci_has_is_a_failure(tmp_path: Path) -> None:
    shown = run(tmp_path, ci="true")

    assert "needs Kafka: install Java\nKafka ended: no memory\nand a log\n" in shown
    assert "1 passed, 2 skipped, 3 errors" in shown
    assert "1 test skipped for want of promtool: apt-get install prometheus" in shown
    assert "for want of Kafka" not in shown
