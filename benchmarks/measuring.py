"""Measured runs of commands, and tables of results."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

COMMAND = (sys.executable, "-m", "chillflow")
"""The command of the tree in the current directory, whatever is installed."""
_SAMPLE_SECONDS = 0.05


class Run(NamedTuple):
    """Cost of one run. `cpu` is the CPU seconds of its own processes, without the broker's."""

    events: int
    seconds: float
    cpu: float
    memory: float
    """Peak resident memory of its first process, MB."""

    @property
    def rate(self) -> float:
        """Events per second, including startup and shutdown."""
        return self.events / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU time per event, µs."""
        return self.cpu / self.events * 1e6


@dataclass(frozen=True)
class Table:
    """A table of results, formatted."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self, title: str) -> str:
        """The table as a Markdown section."""
        lines = [self.head, ["---"] + ["---:"] * (len(self.head) - 1), *self.rows]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"## {title}\n\n{f'{self.note}{chr(10) * 2}' if self.note else ''}{body}\n"


def environment_with(**names: str) -> dict[str, str]:
    """This process's environment with these variables; without `DATABASE_URL`, unless it is among them."""
    return {name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | names


def measured(events: int, command: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Run a command to its end. Raises SystemExit with the end of its stderr if it fails."""
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, env=environment_with(**environment), stdout=subprocess.DEVNULL, stderr=errors
        )
        memory = _PeakMemory(process.pid)
        _, status, used = os.wait4(process.pid, 0)  # includes the children that it waited for
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{errors.read()[-2000:]}")
    return Run(events, seconds, used.ru_utime + used.ru_stime, memory.stop() / 1e3)


class _PeakMemory(threading.Thread):
    """The peak resident memory of a process, kB, sampled while it runs.

    `ru_maxrss` of a child is never less than its parent's peak: Linux keeps the peak across `exec`.
    """

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{process}/status")
        self._ended = threading.Event()
        self._peak = 0
        self.start()

    def run(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            with suppress(OSError):
                lines = self._status.read_text().splitlines()
                self._peak = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), self._peak)

    def stop(self) -> int:
        """End the samples and return the peak."""
        self._ended.set()
        self.join()
        return self._peak


def spread(values: Sequence[float], form: str) -> str:
    """The median, and the range if there are several values."""
    middle = format(statistics.median(values), form)
    return middle if len(values) == 1 else f"{middle} ({min(values):{form}} to {max(values):{form}})"


def machine() -> str:
    """Date, machine and library versions."""
    names = ("bytewax", "confluent-kafka", "msgspec", "polars", "pyarrow")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({model}), {memory:.0f} GB,"
        f" Python {platform.python_version()}, {versions}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
