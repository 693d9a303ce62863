"""The real command: its path, how it ended, and control of it while it runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chillflow.assembly.account import difference
from tests.pipelines.topics import JsonObject
from tests.servers._process import wait_until

COMMAND = Path(sys.executable).with_name("chillflow-stream")
TIMEOUT = 90.0
PRODUCED = {"trips", "events", "delivered", "rejected", "seconds"}
"""Fields of the summary of a production."""
ACCOUNT = {
    "events",
    "complete_trips",
    "incomplete_trips",
    "open_trips",
    "events_in_complete",
    "events_in_incomplete",
    "events_in_open",
    "duplicates",
    "superseded",
    "late",
    "dead_letters",
    "left_out_trips",
}
"""Terms of the account."""


@dataclass(frozen=True)
class Done:
    """Exit code and output of a command."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> JsonObject:
        """The object on the last line of stdout."""
        value: JsonObject = json.loads(self.stdout.splitlines()[-1])
        return value

    @property
    def account(self) -> JsonObject:
        """The summary of `assemble --json` without the late share; asserts that its account balances."""
        summary = self.json
        del summary["late_share"]  # depends on how the run was divided into epochs and restarts
        assert difference(summary) == 0, summary
        assert min(summary.values()) >= 0, summary
        return summary

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()

    @property
    def reason(self) -> str:
        """The error message; asserts that it is the only output."""
        assert self.stdout == ""
        assert len(self.stderr.splitlines()) == 1, self.stderr
        line = self.stderr.strip()
        assert line.startswith("error: "), line
        return line.removeprefix("error: ")

    def checked(self, code: int | None) -> Done:
        """Itself; asserts that the command exited with `code`, unless that is None."""
        assert code is None or self.code == code, f"exit {self.code}\n{self.stdout[-2000:]}\n{self.stderr[-4000:]}"
        return self


@dataclass
class Running:
    """A running command. Its output goes to files, so it never blocks on a full pipe."""

    process: subprocess.Popen[bytes]
    stdout: Path
    stderr: Path

    def wait_for(self, condition: Callable[[], bool], timeout: float = 60) -> None:
        """Wait until `condition` holds. Fails if the command ends first, or after `timeout` seconds."""
        happened = wait_until(lambda: condition() or self.process.poll() is not None, timeout)
        assert happened, f"still waiting after {timeout} s; stderr: {self.stderr.read_text()}"
        assert condition(), f"ended with {self.process.returncode}; stderr: {self.stderr.read_text()}"

    def stop(self, how: signal.Signals = signal.SIGTERM, within: float = 20) -> Done:
        self.process.send_signal(how)
        return self.result(within)

    def result(self, within: float = TIMEOUT) -> Done:
        self.process.wait(within)
        return Done(self.process.returncode, self.stdout.read_text(), self.stderr.read_text())


def elapsed(work: Callable[[], object]) -> float:
    """How many seconds `work` takes."""
    start = time.monotonic()
    work()
    return time.monotonic() - start
