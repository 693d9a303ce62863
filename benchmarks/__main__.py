"""Run the benchmarks on a broker of their own.

    python -m benchmarks                       (make bench: 2.5 M events and a log of 20 M, half an hour)
    python -m benchmarks --trips 100000 --repeat 1 --only job

Read the figures of one machine as ratios, and keep the machine otherwise idle.
"""

from __future__ import annotations

import argparse
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from benchmarks import stages
from benchmarks.budget import budget
from benchmarks.latency import latency
from benchmarks.long_log import long_log
from benchmarks.measuring import Table, machine
from benchmarks.peers import PEERS
from benchmarks.pipeline import Bench, compare, events_topic
from benchmarks.state import sizes
from chillflow.connectors.kafka import KafkaLog
from chillflow.settings import load
from chillflow.synthetic.trip_generator import generate
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer

RESULTS = Path(__file__).with_name("RESULTS.md")
PARTS = ("production", "job", "budget", "database", "partitions", "open", "state", "long", "latency")


def main() -> None:
    """Run the selected parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trips", type=int, default=500_000, help="generated trips, five events each")
    parser.add_argument("--repeat", type=int, default=3, help="rounds of the job comparison")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--open", type=int, nargs="+", default=[1_000, 100_000, 1_000_000], help="numbers of open trips to measure with"
    )
    parser.add_argument("--long", type=int, default=20_000_000, help="events in the long log")
    parser.add_argument("--without-stock", action="store_true", help="skip Bytewax's own parts, which are slow")
    parser.add_argument(
        "--peer", nargs="+", choices=PEERS, default=[], help="libraries to compare with (installed on first use)"
    )
    parser.add_argument("--write", type=Path, help=f"also write the tables to this file, such as {RESULTS.name}")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with KafkaServer(folder / "kafka") as kafka, PostgresServer(folder / "postgres") as postgres:
            tables = measure(chosen, folder, kafka.bootstrap_servers, postgres.url)
    page = f"# Benchmark results\n\n{machine()}\n\n" + "\n".join(table.markdown() for table in tables)
    if chosen.write:
        chosen.write.write_text(page)
    print(page)


def measure(chosen: argparse.Namespace, folder: Path, servers: str, database: str) -> list[Table]:
    """The tables of the selected parts, in a fixed order."""
    file, topic = folder / "trips.parquet", f"bench-{uuid.uuid4().hex[:8]}"
    generate(file, chosen.trips)
    log = KafkaLog(servers, {}, load().kafka_timeout)
    events_topic(log, topic, 4)
    bench = Bench.on(log, servers, folder, topic, chosen.trips)
    parts: dict[str, Callable[[], Table]] = {
        "job": lambda: _job(bench, chosen),
        "database": lambda: stages.database(bench, database),
        "partitions": lambda: stages.partitions(servers, log, folder, file, chosen.trips, topic),
        "open": lambda: stages.open_trips(servers, log, folder, topic, chosen.open),
        "budget": lambda: budget(bench),
        "state": lambda: sizes(folder),
        "long": lambda: long_log(bench, chosen.long),
        "latency": lambda: _latency(bench, log, file),
    }
    if "production" in chosen.only:
        produced = [stages.production(servers, log, folder, file, chosen.trips, topic)]
    else:
        produced = []
        stages.produce(servers, topic, file, chosen.trips)
    return [
        *produced,
        *(parts[name]() for name in PARTS if name in parts and name in chosen.only),
    ]


def _job(bench: Bench, chosen: argparse.Namespace) -> Table:
    peers = [PEERS[name] for name in chosen.peer]
    return compare(bench, chosen.repeat, stock=not chosen.without_stock, peers=peers)


def _latency(bench: Bench, log: KafkaLog, file: Path) -> Table:
    topic = f"{bench.topic}-live"
    events_topic(log, topic, 4)
    return latency(bench, file, topic, rate=5000, seconds=20)


if __name__ == "__main__":
    main()
