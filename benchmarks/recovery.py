"""Time from a restart to the first new result, after repeated kill -9 with the state of a long log in the store.

    python -m benchmarks.recovery                              (1 M and 5 M events; `make servers` first)
    python -m benchmarks.recovery --events 1000000 --kills 10

The log is generated, and assembled by the real command on the servers of the environment (`. .servers/run/env`) or
on files. Then a replay continues with the following days, while `assemble` is started and killed. One measurement is
the time from a start to the first new result that a `read_committed` reader sees. Read the figures of one machine as
ratios.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.long_log import TRIPS_A_DAY
from benchmarks.measuring import COMMAND
from chillflow.assembly.account import read_account
from chillflow.connectors import open_log
from chillflow.connectors.log import Log
from chillflow.model.topics import registry
from chillflow.running.recovery import ACCOUNT_FILE
from chillflow.settings import load, to_environment
from chillflow.synthetic.trip_generator import generate

FIRST_DAY = date(2024, 1, 1)
RATE = 500
"""Events per second during the kills: one event in five ends a trip, so there is a result every 10 ms."""
SECONDS_A_KILL = 15
"""Length of the replay per kill: more than a restart takes."""


class Recoveries(NamedTuple):
    """Restart times after a kill."""

    events: int
    """Events in the log before the first kill."""
    store: int
    """Size of the recovery store before the first kill, bytes."""
    seconds: list[float]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--events", type=int, nargs="+", default=[1_000_000, 5_000_000], help="approximate lengths of the log"
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args()
    print(f"{'events':>12} {'store, MB':>10} {'kills':>6} {'p50, s':>7} {'max, s':>8}")
    for events in chosen.events:
        with tempfile.TemporaryDirectory() as folder:
            seen = recoveries(events, chosen.kills, chosen.workers, Path(folder))
        row = (seen.events, seen.store / 1e6, len(seen.seconds), median(seen.seconds), max(seen.seconds))
        print("{:>12,} {:>10.1f} {:>6} {:>7.2f} {:>8.2f}".format(*row), flush=True)


def recoveries(events: int, kills: int, workers: int, folder: Path) -> Recoveries:
    """Assemble a log of about `events` events, then kill and restart `kills` times."""
    mark, file = uuid.uuid4().hex[:8], folder / "trips.parquet"
    settings = load(
        recovery_dir=folder / "recovery",
        **{f"{name.partition('-')[0]}_topic": f"{name}-{mark}" for name in ("complete-trips", "incomplete-trips")},
        windows_topic=f"zone-windows-{mark}",
        topic=f"trip-events-{mark}",
    )
    environment, log = to_environment(settings), open_log(settings)
    assemble, produce = (
        [*COMMAND, "assemble", "--workers", str(workers)],
        [*COMMAND, "produce-from-file", "--file", file],
    )

    def run(*command: object) -> None:
        subprocess.run([*map(str, command)], env=environment, check=True, stderr=subprocess.DEVNULL)

    try:
        trips = events // 5
        days = max(1, trips // TRIPS_A_DAY)
        generate(file, trips, start=FIRST_DAY, days=days)
        if settings.database_url:
            run(*COMMAND, "init-db")
        run(*produce)
        run(*assemble, "--exit-at-end")
        store = sum(path.stat().st_size for path in settings.recovery_dir.glob("part-*"))
        further = kills * SECONDS_A_KILL * RATE // 5
        following = FIRST_DAY + timedelta(days=days)
        generate(file, further, start=following, days=max(1, further // TRIPS_A_DAY), seed=2)
        with started([*produce, "--rate", RATE], environment):
            seconds = [*restarts(assemble, kills, environment, log, settings.complete_topic)]
        return Recoveries(read_account(settings.recovery_dir / ACCOUNT_FILE)["events"], store, seconds)
    finally:
        log.remove_topics([*registry(settings)])


def restarts(command: list[str], kills: int, environment: Mapping[str, str], log: Log, topic: str) -> Iterator[float]:
    """Seconds from each start to its first new result, except for the first start, which follows no kill."""
    readers = [
        log.reader(topic, number, log.end_offset(topic, number), group=None) for number in range(log.partitions(topic))
    ]

    def has_new_results(within: float) -> bool:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if sum(len(reader.read(1_000)) for reader in readers):
                return True
            time.sleep(0.005)
        return False

    for number in range(kills + 1):
        start = time.monotonic()
        with started(command, environment):
            if not has_new_results(within=120):
                raise SystemExit("no new result within 2 minutes of a start")
            if number:
                yield time.monotonic() - start
            time.sleep(0.5 + number % 7 / 7)  # kill at any point of an epoch
        while has_new_results(within=0.5):
            pass
    for reader in readers:
        reader.close()


@contextmanager
def started(command: Sequence[object], environment: Mapping[str, str]) -> Iterator[None]:
    """Run the command while the body runs, then kill it."""
    running = subprocess.Popen([*map(str, command)], env=environment, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.kill()
        running.wait()


if __name__ == "__main__":
    main()
