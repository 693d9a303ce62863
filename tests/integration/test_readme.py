"""What README.md shows is run: each line of its shell blocks, and its Python."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.servers._process import wait_until
from tests.servers.kafka import KafkaServer

README = (Path(__file__).parents[2] / "README.md").read_text()
BIN = Path(sys.executable).parent
TIMEOUT = 120.0

NOT_RUN = {
    "make demo": "tests of the demo run the command behind it",
    "make test": "this is it",
    "make test stream": "this is it",
    "make lint": "CI runs it before the tests",
    "make check": "CI is this command",
    "make servers": "tests of the servers start them, in folders of their own",
    "uv add chillflow-stream": "needs a package index that holds the project",
    "uv add --dev chillflow-stream": "needs a package index that holds the project",
}
RUN = ("chillflow-stream ", "python -m bytewax.", "CHILLFLOW_INPUT=", "mkdir ", "export ")


@dataclass(frozen=True)
class Endless:
    """A command that runs until it is stopped: when it has done its work, and how it ends then."""

    done: str
    """A file that is there by then, or a text on stderr."""
    codes: tuple[int, ...] = (0,)


ENDLESS = {
    "chillflow-stream consume-events --topic trip-events": Endless("at the end, waiting for more"),
    "chillflow-stream assemble": Endless(".chillflow/recovery/account.json"),
    "chillflow-stream dashboard": Endless("the dashboard is at"),
    # Bytewax itself answers the signal; an error is all it has for that
    "python -m bytewax.run dataflows.assemble -r .chillflow/bytewax -s 1 -b 0": Endless(
        ".chillflow/bytewax/account.json", (0, 1)
    ),
}


def blocks(language: str, section: str | None = None) -> list[str]:
    text = README if section is None else README.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(section: str | None = None) -> list[str]:
    """The lines of the shell blocks without comments, each joined with those it goes on in."""
    text = "".join(blocks("bash", section)).replace("\\\n", " ")
    return [shlex.join(words) for line in text.splitlines() if (words := shlex.split(line, comments=True))]


@dataclass
class Shell:
    """Runs the commands of the README in a folder."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CHILLFLOW_")}
        self.environment = {**kept, **self.environment, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def run(self, command: str) -> str:
        """Run a line; what it printed. Exports stay."""
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self.environment[name] = value
            return ""
        if command in ENDLESS:
            return self._until_stopped(command, ENDLESS[command])
        # quoting by shlex.join would take `&&` and `NAME=value` for words
        line = " ".join(word if word == "&&" or "=" in word else shlex.quote(word) for word in shlex.split(command))
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=self.environment, text=True, capture_output=True, timeout=TIMEOUT
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout

    def _until_stopped(self, command: str, endless: Endless) -> str:
        out, err = self.folder / "stdout", self.folder / "stderr"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                shlex.split(command), cwd=self.folder, env=self.environment, stdout=stdout, stderr=stderr
            )
            try:

                def is_done() -> bool:
                    return (self.folder / endless.done).exists() or endless.done in err.read_text()

                def has_ended() -> bool:
                    return process.poll() is not None

                assert wait_until(lambda: is_done() or has_ended(), TIMEOUT), err.read_text()
                assert not has_ended(), err.read_text()
                process.send_signal(signal.SIGINT)
                assert process.wait(TIMEOUT) in endless.codes, err.read_text()
            finally:
                process.kill()
                process.wait()
        return out.read_text()


def test_every_command_is_run_or_excepted() -> None:
    for command in commands():
        assert command in NOT_RUN or command.startswith(RUN), f"README.md: is {command!r} tested?"


def test_every_exception_is_needed() -> None:
    assert set(commands()) >= {*NOT_RUN, *ENDLESS}


def _write_trip_of_the_example(path: Path) -> None:
    """An export of `stg.complete_trip` with one trip, of the key that the README shows."""
    pl.DataFrame(
        {
            "trip_key": ["abc123"],
            "pickup_ts": [datetime(2024, 1, 1, 12, tzinfo=UTC)],
            "dropoff_ts": [datetime(2024, 1, 1, 13, tzinfo=UTC)],
            "pu_zone_id": [1],
            "do_zone_id": [2],
        }
    ).write_parquet(path)


def test_on_servers(own_kafka: KafkaServer, database_url: str, tmp_path: Path) -> None:
    servers = {"KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap_servers, "DATABASE_URL": database_url}
    shell = Shell(tmp_path, servers)
    printed: dict[str, str] = {}
    for command in [*commands("As a command"), *commands("As Bytewax dataflows")]:
        if "--trip-key abc123" in command:
            _write_trip_of_the_example(tmp_path / "export.parquet")
            shell.run("chillflow-stream load-trips --file export.parquet")
        printed[command] = shell.run(command)
    shown = printed["chillflow-stream consume-events --topic trip-events"].splitlines()
    assert sum('"trip_key":"abc123"' in line for line in shown) == 5
    account = printed["chillflow-stream assemble --exit-at-end --json"]
    assert re.search(r'"complete_trips": 10001, .*"dead_letters": 0', account)
    assert _run_python(servers, tmp_path) == "20.0 [] 5\n"


def test_without_a_server(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    printed = [shell.run(command) for command in commands("Without a server")]
    assert len(printed[-1].splitlines()) == 3
    servers = {name: shell.environment[name] for name in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL")}
    assert _run_python(servers, tmp_path) == "20.0 [] 5\n"


def test_the_trip_key_of_the_example_stands_for_yours(tmp_path: Path) -> None:
    shell = Shell(tmp_path, {"KAFKA_BOOTSTRAP_SERVERS": "file:topics", "DATABASE_URL": "sqlite:///trips.sqlite"})
    shell.run("chillflow-stream init-db")
    with pytest.raises(AssertionError, match=r"error: no trip 'abc123' in stg\.complete_trip"):
        shell.run("chillflow-stream produce-events --trip-key abc123")


def _run_python(servers: Mapping[str, str], folder: Path) -> str:
    """The Python of the README as one program, with the result of sending that the README states."""
    code = "\n".join(blocks("python"))
    (stats,) = re.findall(r"^`stats` is `(SendStats\(.*?\))`", README, re.MULTILINE)
    code += f"\nassert repr(stats) == {stats!r}, stats\nassert isinstance(events[0], TripStartedEvent)\n"
    shell = Shell(folder, dict(servers))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=shell.environment,
        text=True,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
