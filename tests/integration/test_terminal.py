"""Output on a terminal: a progress bar, aligned and coloured lines."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

from tests.pipelines.command import COMMAND
from tests.pipelines.pipeline import Pipeline


def on_terminal(pipeline: Pipeline, *arguments: object) -> str:
    """The output of a command on a terminal, with control sequences."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(COMMAND), *map(str, arguments)],
        cwd=pipeline.folder,
        env={**pipeline.environment, "TERM": "xterm-256color"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # the other end has been closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(30) == 0, shown
    return shown.decode()


def test_producing_shows_a_bar_of_trips(embedded: Pipeline, trips_file: Path) -> None:
    shown = on_terminal(embedded, "produce-from-file", "--file", trips_file, "--rate", 1500)
    assert "━" in shown
    assert "300/300" in shown
    assert shown.rstrip().splitlines()[-1].find("300 trips, 1,500 events") >= 0  # the bar has gone


def test_events_are_aligned_and_coloured(embedded: Pipeline, trips_file: Path) -> None:
    embedded.produce(trips_file)
    lines = on_terminal(embedded, "consume-events", "-n", 40).splitlines()
    events = [line for line in lines if "trip_key" not in line and "\x1b[32mtrip_started" in line]
    assert events
    assert len({line.index("\x1b[32m") for line in events}) == 1
