"""What the state of the assembly costs: bytes a trip, and that it is bounded over a long log.

    python -m benchmarks.state                     (10 M events: 6 GB of disk, some minutes)
    python -m benchmarks.state --events 1000000

The long log is generated: 16,700 trips a day (so 1 M events are 12 days, more than the longest horizon), 2 % of the
events lost. The real command assembles it on files; its memory and its recovery store are looked at on the way.
Files need Linux' `/proc`. Figures of one machine are ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measuring import COMMAND
from chillflow.account import read_account
from chillflow.assembly import Assembly
from chillflow.codec import decode_keyed
from chillflow.compression import compress
from chillflow.connectors.log import LogRecord
from chillflow.connectors.parquet import ParquetTrips
from chillflow.keygroup import Keyed, KeyGroup, Record
from chillflow.replay import RejectedRow
from chillflow.running.recovery import ACCOUNT_FILE
from chillflow.settings import DEFAULT_TIME_ZONE, Settings
from chillflow.splitting import encode_leg, schedule
from chillflow.streamtime import NO_TIME
from chillflow.synthetic.trips import generate

TRIPS_A_DAY = 16_700
LOST = 0.02
STEPS_TRIPS = 20_000


def main() -> None:
    """Measure both, and show tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000, help="length of the log, about")
    parser.add_argument("--folder", type=Path, help="where to keep the log while it is needed")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        events = some_events(Path(folder))
        print("\nbytes\n" + "\n".join(f"  {name:54} {figure:8,.0f}" for name, figure in sizes(events)))
        print(f"\n{'events':>12} {'days':>5} {'open trips':>11} {'memory, MB':>11} {'store, MB':>10} {'events/s':>9}")
        for seen in growth(chosen.events, Path(folder)):
            row = (seen.events / 5 / TRIPS_A_DAY, seen.open_trips, seen.memory / 1e6, seen.store / 1e6, seen.rate)
            print("{:>12,} {:>5.0f} {:>11,} {:>11.0f} {:>10.1f} {:>9,.0f}".format(seen.events, *row), flush=True)


def some_events(folder: Path) -> list[LogRecord]:
    """The events of a day's trips as they stand in a log."""
    file = folder / "some.parquet"
    generate(file, STEPS_TRIPS, days=1)
    rows = (row for row in ParquetTrips(file, DEFAULT_TIME_ZONE) if not isinstance(row, RejectedRow))
    messages = [message for leg in schedule(rows) for message in encode_leg(leg, "trip-events")]
    return [LogRecord(offset, each.timestamp, each.key, each.value, None) for offset, each in enumerate(messages)]


def rules() -> Assembly:
    """Assembly with the default horizons."""
    settings = Settings()
    return Assembly(settings.trip_timeout, settings.correction_horizon, settings.incomplete_horizon)


def group(snapshot: Any = None) -> KeyGroup[Any, Any]:
    """A key group of trips, as the dataflow has them."""
    assembly = rules()
    keyed = Keyed(assembly.assemble, assembly.expire, decode_keyed, assembly.dump, assembly.load, assembly.forgets)
    return KeyGroup(keyed, snapshot)


def sizes(events: list[LogRecord]) -> Iterator[tuple[str, float]]:
    """What a trip takes, in memory and in the recovery store."""
    firsts = list({each.key: each for each in reversed(events)}.values())
    for name, some in (("open trip, of one event", firsts), ("remembered trip, of all five", events)):
        records = [Record(NO_TIME, each.offset, each.key, each.value, None, each.timestamp) for each in some]
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        one = group()
        one.process([records])
        live, _ = tracemalloc.get_traced_memory()
        one.snapshot()
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        yield f"{name}: touched in this epoch", (live - before) / len(one)
        yield f"{name}: at rest", (held - before) / len(one)
        yield f"{name}: in the snapshot", len(compress(one.snapshot()["states"])[1]) / len(one)


# Growth


class Seen(NamedTuple):
    """What an assembly had come to when it was looked at."""

    events: int
    open_trips: int
    memory: int
    store: int
    rate: float
    """Since the last look, events a second."""


def growth(events: int, folder: Path) -> Iterator[Seen]:
    """The command over a long log, looked at each tenth of it."""
    trips, file, recovery = events // 5, folder / "trips.parquet", folder / "recovery"
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": f"file:{folder / 'topics'}",
        "CHILLFLOW_RECOVERY_DIR": str(recovery),
    }
    environment.pop("DATABASE_URL", None)
    generate(file, trips, start=date(2024, 1, 1), days=max(1, trips // TRIPS_A_DAY))
    produce = [COMMAND, "produce-from-file", "--file", str(file), "--drop", str(LOST), "--json"]
    produced = json.loads(subprocess.run(produce, env=environment, check=True, capture_output=True).stdout)["events"]
    file.unlink()
    running = subprocess.Popen([COMMAND, "assemble"], env=environment, stderr=subprocess.DEVNULL)
    try:
        yield from looked_at(running.pid, produced, recovery)
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait()


def looked_at(process: int, events: int, recovery: Path) -> Iterator[Seen]:
    """The same process at each tenth of so many events."""
    marks = [events * tenth // 10 for tenth in range(1, 11)]
    before, then = 0, time.monotonic()
    while marks:
        time.sleep(0.1)
        account = read_account(recovery / ACCOUNT_FILE)
        if account["events"] >= marks[0]:
            marks = [mark for mark in marks if mark > account["events"]]
            store = sum(path.stat().st_size for path in recovery.glob("part-*"))
            rate = (account["events"] - before) / (time.monotonic() - then)
            before, then = account["events"], time.monotonic()
            yield Seen(account["events"], account["open_trips"], memory_of(process), store, rate)


def memory_of(process: int) -> int:
    """Resident bytes of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
