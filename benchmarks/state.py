"""What the state of the assembly costs: µs by step, bytes a trip, and that it is bounded over a long log.

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
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from chillflow.account import read_account
from chillflow.assembly import Assembly
from chillflow.codec import decode_keyed
from chillflow.connectors.inspection import body_time
from chillflow.connectors.log import LogRecord
from chillflow.connectors.parquet import ParquetTrips
from chillflow.keygroup import Keyed, KeyGroup, Record
from chillflow.outputs import Outputs
from chillflow.replay import RejectedRow
from chillflow.running.recovery import ACCOUNT_FILE
from chillflow.settings import DEFAULT_TIME_ZONE, Settings
from chillflow.splitting import encode_leg, schedule
from chillflow.streamtime import NO_TIME, StreamTime
from chillflow.synthetic.trips import generate

COMMAND = str(Path(sys.executable).with_name("chillflow-stream"))
TRIPS_A_DAY = 16_700
LOST = 0.02
STEPS_TRIPS = 20_000
REPEAT = 15


def main() -> None:
    """Measure both, and show tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000, help="length of the log, about")
    parser.add_argument("--folder", type=Path, help="where to keep the log while it is needed")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        events = some_events(Path(folder))
        for title, rows in (("µs", steps(events)), ("bytes", sizes(events))):
            print(f"\n{title}\n" + "\n".join(f"  {name:54} {figure:8,.2f}" for name, figure in rows))
        print(f"\n{'events':>12} {'days':>5} {'open trips':>11} {'memory, MB':>11} {'store, MB':>10} {'events/s':>9}")
        for seen in growth(chosen.events, Path(folder)):
            row = (seen.events / 5 / TRIPS_A_DAY, seen.open_trips, seen.memory / 1e6, seen.store / 1e6, seen.rate)
            print("{:>12,} {:>5.0f} {:>11,} {:>11.0f} {:>10.1f} {:>9,.0f}".format(seen.events, *row), flush=True)


# Steps


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


def group() -> KeyGroup[Any, Any]:
    """A key group of trips, as the dataflow has them."""
    assembly = rules()
    return KeyGroup(Keyed(assembly.assemble, assembly.expire, decode_keyed, assembly.dump, assembly.load))


def as_records(events: list[LogRecord]) -> list[Record]:
    """As a source hands them on; without a stream time nothing is due."""
    return [Record(NO_TIME, each.offset, each.key, each.value, None, each.timestamp) for each in events]


def best(work: Callable[[Any], object], count: int, prepare: Callable[[], Any] = lambda: None) -> float:
    """The least CPU time an item, in µs, that the work takes, of some tries on what was prepared."""
    tries = []
    for _ in range(REPEAT):
        prepared = prepare()
        start = time.process_time()
        work(prepared)
        tries.append(time.process_time() - start)
    return min(tries) / count * 1e6


def steps(events: list[LogRecord]) -> Iterator[tuple[str, float]]:
    """What each step takes an event, or a trip where it says so."""
    records, assembly, outputs = as_records(events), rules(), Outputs(Settings(), 1)
    decoded = [(each.key or b"", decode_keyed(each.key or b"", each.value)) for each in events]
    last = {key: at for at, (key, _) in enumerate(decoded)}
    joining = [one for at, one in enumerate(decoded) if last[one[0]] != at]
    ending = [decoded[at] for at in last.values()]
    states: dict[bytes, Any] = {}
    results: list[Any] = []

    def observe(_: Any) -> None:
        stream_time = StreamTime(20)
        for each in events:
            stream_time.observe(each.timestamp or 0)

    def take(some: list[tuple[bytes, Any]]) -> None:
        for key, event in some:
            states[key], outcome = assembly.assemble(states.get(key), event, NO_TIME)
            if outcome.result is not None:
                results.append(outcome.result)

    def open_again() -> None:
        states.clear()
        results.clear()
        take(joining)

    count, trips = len(events), len(ending)
    decode = best(lambda _: [decode_keyed(each.key or b"", each.value) for each in events], count)
    join = best(lambda _: take(joining), len(joining), states.clear)
    end = best(lambda _: take(ending), trips, open_again)
    mapper = (join * len(joining) + end * trips) / count
    whole = best(lambda one: one.process([records]), count, group)
    dumped = [assembly.dump(state) for state in states.values()]
    yield "stream time", best(observe, count)
    yield "decode", decode
    yield "mapper", mapper
    yield "  of it: an event that joins an open trip", join
    yield "  of it: one that completes its trip, with the result", end
    yield "key group: the rest of its work", whole - decode - mapper
    yield (
        "CHILLFLOW_EVENT_TIME=body, besides",
        best(lambda _: [each._replace(timestamp=body_time(each)) for each in events], count),
    )
    yield "dump, a trip", best(lambda _: [assembly.dump(state) for state in states.values()], trips)
    yield "load, a trip", best(lambda _: [assembly.load(data) for data in dumped], trips)
    yield "encode, a trip", best(lambda _: outputs.trips(("0000", results)), trips)


def sizes(events: list[LogRecord]) -> Iterator[tuple[str, float]]:
    """What a trip takes, in memory and in the recovery store."""
    firsts = list({each.key: each for each in reversed(events)}.values())
    for name, some in (("open trip, of one event", firsts), ("remembered trip, of all five", events)):
        records = as_records(some)
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
        yield f"{name}: in the snapshot", len(pickle.dumps(one.snapshot())) / len(one)


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
