"""The whole job side by side, on one broker and one topic: ours, a loop written by hand, Bytewax as it comes.

    python -m benchmarks.pipeline --trips 500000      (make bench)

Needs `KAFKA_BOOTSTRAP_SERVERS` (`make servers`). Ours has recovery, windows and exactly-once on. Figures of one machine
are ratios: read the column `of the loop`. CPU seconds are those of the process alone, without the broker.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from chillflow.connectors.kafka import KafkaLog
from chillflow.settings import load
from chillflow.synthetic.trips import generate
from chillflow.topics import TopicSpec

COMMAND = str(Path(sys.executable).with_name("chillflow-stream"))


class Run(NamedTuple):
    """What a run took."""

    name: str
    events: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Events a second, start-up included."""
        return self.events / self.seconds


def measured(name: str, events: int, command: list[str], environment: dict[str, str]) -> Run:
    """Run a command to its end."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    ours = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    done = subprocess.run(command, env={**ours, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(name, events, time.monotonic() - start, cpu)


def main() -> None:
    """Make a topic, run all, show a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trips", type=int, default=500_000, help="generated trips, five events each")
    parser.add_argument("--epochs", default="1,5", help="epoch intervals to try, in seconds")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the fastest counts")
    parser.add_argument("--without-stock", action="store_true", help="leave Bytewax as it comes out: it is slow")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    chosen = parser.parse_args()
    mark = uuid.uuid4().hex[:8]
    topic, servers = f"bench-{mark}", load().kafka_bootstrap_servers
    with tempfile.TemporaryDirectory() as folder:
        runs = list(compare(chosen, Path(folder), topic, servers))
    loop = next(run for run in runs if run.name.startswith("loop"))
    print(f"{'':44} {'events/s':>10} {'of the loop':>12} {'CPU µs/event':>13}")
    for run in runs:
        print(f"{run.name:44} {run.rate:>10,.0f} {run.rate / loop.rate:>12.2f} {run.cpu / run.events * 1e6:>13.1f}")
    if chosen.json:
        print(json.dumps({run.name: {"rate": run.rate, "cpu": run.cpu} for run in runs}))


def compare(chosen: argparse.Namespace, folder: Path, topic: str, servers: str) -> list[Run]:
    """All runs, each into topics of its own."""
    file, events = folder / "trips.parquet", 5 * chosen.trips
    generate(file, chosen.trips)
    names = {"CHILLFLOW_TOPIC": topic}
    runs = [measured("produce-from-file", events, [COMMAND, "produce-from-file", "--file", str(file)], names)]
    log = KafkaLog(servers, {}, load().kafka_timeout)
    number = 0

    def best(name: str, command: list[str], environment: dict[str, str]) -> Run:
        nonlocal number
        tries = []
        for _ in range(chosen.repeat):
            number += 1
            out = f"{topic}-out-{number}"
            log.ensure_topics([TopicSpec(out, "", "", ())], log.partitions(topic), 1)
            changes = {key: value.format(out=out, number=number) for key, value in environment.items()}
            tries.append(measured(name, events, [part.format(out=out) for part in command], changes))
            print(f"  {name}: {tries[-1].rate:,.0f} events/s", file=sys.stderr)
        return min(tries, key=lambda run: run.seconds)

    runs.append(
        best("loop by hand, no guarantee", [sys.executable, "-m", "benchmarks.loop", servers, topic, "{out}"], {})
    )
    for epoch in chosen.epochs.split(","):
        ours = {
            **names,
            "CHILLFLOW_COMPLETE_TOPIC": "{out}",
            "CHILLFLOW_INCOMPLETE_TOPIC": "{out}-incomplete",
            "CHILLFLOW_WINDOWS_TOPIC": "{out}-windows",
            "CHILLFLOW_RECOVERY_DIR": str(folder / "recovery-{number}"),
            "CHILLFLOW_EPOCH_INTERVAL": f"{epoch}s",
        }
        for workers in (1, 2):
            command = [COMMAND, "assemble", "--exit-at-end", "--workers", str(workers)]
            runs.append(best(f"assemble, {workers} worker(s), epochs of {epoch} s", command, ours))
    if not chosen.without_stock:
        environment = {"BENCH_SERVERS": servers, "BENCH_TOPIC": topic, "BENCH_OUT": "{out}"}
        flow = [sys.executable, "-m", "bytewax.run", "benchmarks.stock"]
        runs.append(best("Bytewax as it comes, no recovery", flow, environment))
        store = folder / "stock"
        store.mkdir()
        subprocess.run([sys.executable, "-m", "bytewax.recovery", str(store), "1"], check=True)
        runs.append(best("Bytewax as it comes, recovery", [*flow, "-r", str(store), "-s", "1", "-b", "0"], environment))
    return runs


if __name__ == "__main__":
    main()
