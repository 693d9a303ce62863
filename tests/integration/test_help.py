"""`--help`, `--version` and completion: fast, grouped, with an example for each command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.missing import missing
from tests.pipelines.command import COMMAND
from tests.pipelines.pipeline import Pipeline

GROUPS = {
    "Start here": ["demo"],
    "Produce": ["produce-from-file", "produce-events", "generate"],
    "Assemble": ["assemble"],
    "Inspect": ["status", "dashboard", "doctor", "consume-events", "schema", "dead-letters"],
    "Set up": ["create-topic", "init-db", "load-trips", "reset"],
}
COMMANDS = [
    command
    for group in GROUPS.values()
    for name in group
    for command in (["dead-letters list", "dead-letters replay"] if name == "dead-letters" else [name])
]
LIGHT = {
    "annotated_doc",
    "annotated_types",
    "attr",
    "click",
    "dotenv",
    "markdown_it",
    "mdurl",
    "msgspec",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "pygments",
    "rich",
    "shellingham",
    "typer",
    "typing_extensions",
    "typing_inspection",
}
"""Packages that `--help` may import: for the command line, the settings and their display."""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(embedded: Pipeline, command: str) -> None:
    done = embedded.run(*command.split(), "--help")

    example = " ".join(done.stdout.partition("Example: ")[2].split())
    assert f"chillflow-stream {command}" in example
    assert done.stderr == ""
    assert "--debug" in done.stdout


def test_help_shows_values_as_users_write_them(embedded: Pipeline) -> None:
    shown = embedded.run("assemble", "--help", COLUMNS="400").stdout

    durations = re.findall(r"--([a-z-]+) +DURATION", shown)
    assert durations == [
        *("kafka-timeout", "epoch-interval", "trip-timeout", "correction-horizon", "incomplete-horizon"),
        "ready-epoch-limit",
    ]
    assert "[CHILLFLOW_TRIP_TIMEOUT, default 25h]" in shown
    assert "timestamp|body" in shown


def test_paragraphs_of_help_have_no_line_breaks_of_the_source(embedded: Pipeline) -> None:
    shown = embedded.run("reset", "--help", COLUMNS="400").stdout
    assert any(
        "Removes the recovery" in line and "when they are produced again." in line for line in shown.splitlines()
    )


def test_help_lists_every_command_in_its_group(embedded: Pipeline) -> None:
    shown = embedded.run("--help").stdout

    panels = re.findall(r"^╭─ ([\w ]+) ─+╮\n(.*?)^╰", shown, re.MULTILINE | re.DOTALL)
    listed = {title: re.findall(r"^│ ([a-z]+(?:-[a-z]+)*)  ", body, re.MULTILINE) for title, body in panels}
    assert {title: names for title, names in listed.items() if names} == GROUPS


def test_help_imports_only_light_packages() -> None:
    """So that it is fast, as `make bench` measures. A new package here needs a reason."""
    code = f"""
import sys
from chillflow.cli import app
for command in {["", *COMMANDS]}:
    app([*command.split(), "--help"], standalone_mode=False)
print(*sys.modules, file=sys.stderr)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr

    packages = {name.partition(".")[0] for name in said.split()}
    assert {"typer", "chillflow"} <= packages
    allowed = sys.stdlib_module_names | LIGHT | {"chillflow", "__main__"}
    assert {name for name in packages - allowed if not name.startswith("_")} == set()


def test_the_version(embedded: Pipeline) -> None:
    assert embedded.run("--version").stdout.strip() == version("chillflow-stream")


def test_the_bare_command_shows_its_help(embedded: Pipeline) -> None:
    done = embedded.run(code=None)

    assert done.code in (0, 2)
    assert "Usage: chillflow-stream" in done.stdout + done.stderr


def test_completion(embedded: Pipeline, tmp_path: Path) -> None:
    home: dict[str, Any] = {"HOME": str(tmp_path), "PATH": f"{COMMAND.parent}:/usr/bin:/bin"}
    if shutil.which("bash", path=home["PATH"]) is None:
        missing("bash", "apt-get install bash")
    shown = embedded.python("bash", "-c", "chillflow-stream --show-completion; true", **home).stdout
    embedded.python("bash", "-c", "chillflow-stream --install-completion; true", **home)
    script = tmp_path / "script.sh"
    script.write_text(
        f"{shown}\nCOMP_WORDS=(chillflow-stream produce-)\nCOMP_CWORD=1\n"
        '_chillflow_stream_completion chillflow-stream; echo "${COMPREPLY[@]}"\n'
    )

    assert embedded.python("bash", script, **home).stdout.split() == ["produce-from-file", "produce-events"]
    assert "chillflow-stream" in (tmp_path / ".bashrc").read_text()
