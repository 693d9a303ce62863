"""Run the benchmarks on a broker of their own, or on a running one.

    python -m benchmarks --write benchmarks/RESULTS.md    (make bench: 2.5 M events and a log of 20 M)
    python -m benchmarks --only disorder --orders shuffled-60 --trips 300000 --repeat 1 --servers localhost:9092

Read the figures of one machine as ratios, and keep the machine otherwise idle.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import count
from pathlib import Path

from confluent_kafka.admin import AdminClient

from benchmarks import stages
from benchmarks.bench import Broker
from benchmarks.budget import budget
from benchmarks.disorder import ORDERS, disorder
from benchmarks.latency import latency
from benchmarks.long_log import long_log
from benchmarks.measuring import COMMAND, Table, environment_with, machine
from benchmarks.peers import PEERS
from benchmarks.pipeline import compare
from benchmarks.state import sizes
from benchmarks.streams import IN_ORDER, SHUFFLED, Streams
from chillflow.connectors.kafka import KafkaLog
from chillflow.settings import load
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer

RESULTS = Path(__file__).resolve().with_name("RESULTS.md")
SECTIONS = {
    "production": "Production",
    "job": "The whole job",
    "disorder": "Streams in disorder",
    "budget": "CPU time of one event by step",
    "database": "With a database",
    "partitions": "Partitions, one worker",
    "open": "Open trips",
    "state": "State, bytes per trip",
    "long": "A long log",
    "latency": "Latency",
}
"""The sections of the page by the parts that write them, in their order."""


def main() -> None:
    """Run the selected parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trips", type=int, default=500_000, help="generated trips, five events each")
    parser.add_argument("--repeat", type=int, default=3, help="rounds of the comparisons with the loop")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=[*SECTIONS])
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=[*ORDERS], help="rows of `disorder`")
    parser.add_argument(
        "--open", type=int, nargs="+", default=[1_000, 100_000, 1_000_000], help="numbers of open trips to measure with"
    )
    parser.add_argument("--long", type=int, default=20_000_000, help="events in the long log")
    parser.add_argument("--without-stock", action="store_true", help="skip Bytewax's own parts, which are slow")
    parser.add_argument(
        "--peer", nargs="+", choices=PEERS, default=[], help="libraries to compare with (installed on first use)"
    )
    parser.add_argument(
        "--servers", help="a running Kafka broker (host:port), which keeps the generated streams for the next run"
    )
    parser.add_argument("--write", type=Path, help=f"also write the tables to this file, such as {RESULTS.name}")
    chosen = parser.parse_args()
    if chosen.write and chosen.write.resolve() == RESULTS and {*chosen.only, *chosen.orders} < {*SECTIONS, *ORDERS}:
        parser.error(f"{RESULTS.name} is written whole: without --only and --orders")
    with tempfile.TemporaryDirectory() as name, ExitStack() as servers:
        folder = Path(name)
        broker = servers.enter_context(_broker(chosen.servers, folder))
        streams = Streams(broker, chosen.trips, f"bench-{chosen.trips}" if chosen.servers else broker.mark)
        tables = measure(chosen, streams, _databases(servers, folder))
    page = f"# Benchmark results\n\n{machine()}\n\n" + "\n".join(
        table.markdown(SECTIONS[part]) for part, table in tables.items()
    )
    if chosen.write:
        chosen.write.write_text(page)
    print(page)


def measure(chosen: argparse.Namespace, streams: Streams, new_database: Callable[[], str]) -> Mapping[str, Table]:
    """The tables of the selected parts, in the order of SECTIONS."""
    broker = streams.broker
    peers = [PEERS[name] for name in chosen.peer]
    parts: dict[str, Callable[[], Table]] = {
        "production": lambda: stages.production(broker, streams.file, chosen.trips),
        "job": lambda: compare(streams.bench(IN_ORDER), chosen.repeat, stock=not chosen.without_stock, peers=peers),
        "disorder": lambda: disorder(streams, chosen.orders, chosen.repeat, new_database),
        "budget": lambda: budget({"in order": streams.bench(IN_ORDER), "shuffled by 60 s": streams.bench(SHUFFLED)}),
        "database": lambda: stages.database(streams.bench(IN_ORDER), new_database),
        "partitions": lambda: stages.partitions(broker, streams.file, chosen.trips),
        "open": lambda: stages.open_trips(broker, chosen.open),
        "state": lambda: sizes(broker.folder),
        "long": lambda: long_log(broker, chosen.long),
        "latency": lambda: latency(broker, streams.file),
    }
    tables = {}
    for part in SECTIONS:
        if part in chosen.only:
            start = time.monotonic()
            tables[part] = parts[part]()
            print(f"{part}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return tables


@contextmanager
def _broker(servers: str | None, folder: Path) -> Iterator[Broker]:
    """The broker at this address, or a new one. A running broker loses the topics that only this run needs."""
    mark = f"bench-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        address = servers or stack.enter_context(KafkaServer(folder / "kafka")).bootstrap_servers
        log = KafkaLog(address, {}, load().kafka_timeout)
        try:
            yield Broker(log, address, folder, mark)
        finally:
            if servers:
                topics = AdminClient({"bootstrap.servers": servers}).list_topics(timeout=10).topics
                log.remove_topics([name for name in topics if name.startswith(mark)])


def _databases(servers: ExitStack, folder: Path) -> Callable[[], str]:
    """A function that returns the URL of a new database with our tables; its server starts on first use."""
    numbers = count()

    @cache
    def server() -> PostgresServer:
        return servers.enter_context(PostgresServer(folder / "postgres"))

    def new_database() -> str:
        url = server().create_database(f"bench_{next(numbers)}")
        init = [*COMMAND, "init-db"]
        subprocess.run(init, env=environment_with(DATABASE_URL=url), check=True, capture_output=True)
        return url

    return new_database


if __name__ == "__main__":
    main()
