"""Cost of an event over a long log: one process, sampled as it goes, to show that the cost does not grow."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import Bench, Broker
from benchmarks.measuring import COMMAND, Table, environment_with
from benchmarks.streams import SHUFFLED, produce
from chillflow.assembly.account import read_account
from chillflow.running.recovery import ACCOUNT_FILE
from chillflow.synthetic.trip_generator import generate

TRIPS_A_DAY = 16_700
"""1 M events are 12 days at this rate, more than the longest horizon."""
LOST = 0.02
SAMPLES = 10


class Progress(NamedTuple):
    """How far an assembly had come, and what it had used, at one moment."""

    events: int
    open_trips: int
    memory: int
    """Resident bytes."""
    store: int
    """Bytes of the recovery store."""
    cpu: float
    """CPU seconds of the process so far."""
    at: float
    """Monotonic time, seconds."""


def long_log(broker: Broker, events: int) -> Table:
    """Assemble a generated log of about `events` events, shuffled and some of them lost, from its beginning."""
    trips = events // 5
    bench, file = Bench(broker, broker.new_topic("long"), trips), broker.folder / "long.parquet"
    broker.events_topic(bench.topic)
    names = bench.environment(bench.outputs())
    environment, recovery = environment_with(**names), Path(names["CHILLFLOW_RECOVERY_DIR"])
    generate(file, trips, start=date(2024, 1, 1), days=max(1, trips // TRIPS_A_DAY))
    produce(broker, bench.topic, file, trips, *SHUFFLED.options, "--drop", str(LOST))
    file.unlink()
    running = subprocess.Popen([*COMMAND, "assemble"], env=environment, stderr=subprocess.DEVNULL)
    try:
        samples = [*_sampled(running.pid, bench.events, recovery)]
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait()
    rows = [
        [
            f"{now.events:,}",
            f"{now.events / 5 / TRIPS_A_DAY:,.0f}",
            f"{now.open_trips:,}",
            f"{now.memory / 1e6:,.0f}",
            f"{now.store / 1e6:,.1f}",
            f"{(now.events - before.events) / (now.at - before.at):,.0f}",
            f"{(now.cpu - before.cpu) / (now.events - before.events) * 1e6:.1f}",
        ]
        for before, now in pairwise(samples)
    ]
    note = (
        f"{TRIPS_A_DAY:,} trips a day in 4 partitions, {LOST:.0%} of the events lost, the others shuffled by"
        " 60 s; one worker, with recovery, windows and exactly-once. Rate and CPU time cover the events since the row"
        " above."
    )
    head = ["events", "days", "open trips", "memory, MB", "store, MB", "events/s", "CPU µs per event"]
    return Table(head, rows, note)


def _sampled(process: int, events: int, recovery: Path) -> Iterator[Progress]:
    """The progress of a process at its first epoch, and at each tenth of `events`."""
    marks = [1, *(events * number // SAMPLES for number in range(1, SAMPLES + 1))]
    while marks:
        time.sleep(0.05)
        account = read_account(recovery / ACCOUNT_FILE)
        if account["events"] >= marks[0]:
            marks = [mark for mark in marks if mark > account["events"]]
            store = sum(path.stat().st_size for path in recovery.glob("part-*"))
            yield Progress(
                account["events"], account["open_trips"], _memory(process), store, _cpu(process), time.monotonic()
            )


def _memory(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _cpu(process: int) -> float:
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
