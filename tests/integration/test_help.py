"""`--help`, `--version` and completion: quick, grouped, and with an example each."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli import COMMAND, Pipeline
from tests.missing import missing

GROUPS = {
    "Start here": ["demo"],
    "Produce": ["produce-from-file", "produce-events", "generate"],
    "Assemble": ["assemble"],
    "Look": ["status", "dashboard", "doctor", "consume-events", "schema", "dead-letters"],
    "Set up": ["create-topic", "init-db", "load-trips", "reset"],
}
COMMANDS = [
    command
    for group in GROUPS.values()
    for name in group
    for command in (["dead-letters list", "dead-letters replay"] if name == "dead-letters" else [name])
]
HEAVY = {"bytewax", "confluent_kafka", "polars", "psycopg", "pyarrow"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(embedded: Pipeline, command: str) -> None:
    done = embedded.run(*command.split(), "--help")

    example = " ".join(done.stdout.partition("Example: ")[2].split())
    assert f"chillflow-stream {command}" in example
    assert done.stderr == ""
    assert "--debug" in done.stdout


def test_help_lists_every_command_in_its_group(embedded: Pipeline) -> None:
    shown = embedded.run("--help").stdout

    panels = re.findall(r"^╭─ ([\w ]+) ─+╮\n(.*?)^╰", shown, re.MULTILINE | re.DOTALL)
    listed = {title: re.findall(r"^│ ([a-z]+(?:-[a-z]+)*)  ", body, re.MULTILINE) for title, body in panels}
    assert {title: names for title, names in listed.items() if names} == GROUPS


def seconds_of_work(command: Sequence[object]) -> float:
    """What a command takes of a processor, however busy the machine is: the least of three."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*map(str, command)], stdout=subprocess.DEVNULL, check=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(3))


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_quick(command: str) -> None:
    # Half a second on a machine where Python starts in 12 ms.
    python = max(0.01, seconds_of_work([sys.executable, "-I", "-c", "pass"]))
    assert seconds_of_work([COMMAND, *command.split(), "--help"]) < 40 * python


def test_help_imports_no_client_and_no_engine() -> None:
    code = "import sys, chillflow.cli; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert HEAVY.isdisjoint(shown.split())


def test_the_version(embedded: Pipeline) -> None:
    assert embedded.run("--version").stdout.strip() == version("chillflow-stream")


def test_the_command_alone_shows_its_help(embedded: Pipeline) -> None:
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
