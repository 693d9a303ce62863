"""docs/tutorial.md, from its first line to its last: the files it has made, its commands, and what they print."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers._process import wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
ENDLESS = {
    "chillflow-stream assemble": ".chillflow/recovery/account.json",
    "chillflow-stream consume-events --topic zone-windows --from end": None,
}
"""What runs until it is stopped, at the end of its section; and a file that is there when it is under way."""


class Reader:
    """Somebody who does what the page says, in a folder of his own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ours = ("CHILLFLOW_", "KAFKA_", "DATABASE_URL")
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self._environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._running: list[subprocess.Popen[bytes]] = []

    def write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)

    def do(self, line: str) -> str:
        """Run a line; what it printed on both streams."""
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self._environment[name] = value
            return ""
        command = line.split()
        if line in ENDLESS:
            self._start(command, ENDLESS[line])
            return ""
        done = subprocess.run(
            command, cwd=self._folder, env=self._environment, stdout=-1, stderr=-2, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}"
        return done.stdout

    def _start(self, command: list[str], sign: str | None) -> None:
        with (self._folder / f"output-{len(self._running)}").open("wb") as output:
            self._running.append(
                subprocess.Popen(command, cwd=self._folder, env=self._environment, stdout=output, stderr=output)
            )
        assert wait_until(lambda: sign is None or (self._folder / sign).exists(), 60)

    def stop(self) -> None:
        """Ctrl-C in all other terminals."""
        for process in self._running:
            process.send_signal(signal.SIGINT)
        assert [process.wait(60) for process in self._running] == [0] * len(self._running)
        self._running.clear()

    def kill(self) -> None:
        for process in self._running:
            process.kill()


def parts() -> Iterator[tuple[str, str, str]]:
    """Kind, text and the words before it, of each block and each heading in their order."""
    pattern = re.compile(r"^```(\w+)\n(.*?)^```|^## (.*?)$", re.MULTILINE | re.DOTALL)
    end = 0
    for found in pattern.finditer(PAGE):
        yield (found[1] or "heading", found[2] or found[3], PAGE[end : found.start()])
        end = found.end()


def without_seconds(text: str) -> str:
    return re.sub(r"\d+\.\d s$", "… s", text, flags=re.MULTILINE)


@pytest.mark.timeout(400)
def test_the_tutorial(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    said, seen = "", []
    with ExitStack() as stack:
        stack.callback(reader.kill)
        for kind, text, before in parts():
            seen.append(kind)
            if kind == "heading":
                reader.stop()
            elif kind in ("python", "csv"):
                reader.write(re.findall(r"into `([\w.]+)`:\s*$", before)[0], text)
            elif kind == "bash":
                said = "".join(map(reader.do, text.splitlines()))
            else:
                assert kind == "text"
                for line in without_seconds(text).splitlines():
                    assert line in without_seconds(said).splitlines(), said
    assert (seen.count("heading"), seen.count("python"), seen.count("csv")) == (7, 2, 1)
    assert '"final":true' in (tmp_path / "output-1").read_text()
