"""A broker with topics of events, and runs of the whole job on one of these topics."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import chain, count
from pathlib import Path

from benchmarks.measuring import COMMAND, Run, measured
from benchmarks.peers import Peer, interpreter
from chillflow.connectors.log import Log, records_until_end
from chillflow.keyed.batches import Record
from chillflow.model.codec import decode_value
from chillflow.model.measures import MEASURES
from chillflow.model.topics import TopicSpec, registry
from chillflow.settings import load

__all__ = ["EPOCH", "Bench", "Broker", "Outputs", "counted_in", "records", "trips_in", "windows_in"]

BYTEWAX = [sys.executable, "-m", "bytewax.run"]
EPOCH = 2
"""Epoch interval in seconds, the command's default."""
Outputs = tuple[str, str]
"""Topics of trips and of windows."""


@dataclass(frozen=True)
class Broker:
    """A Kafka broker, and a folder for the files of the run."""

    log: Log
    servers: str
    folder: Path
    mark: str
    """Start of the names of all topics that only this run needs."""
    _numbers: Iterator[int] = field(default_factory=count)

    def new_topic(self, purpose: str) -> str:
        """A name that no other topic has."""
        return f"{self.mark}-{purpose}-{next(self._numbers)}"

    def events_topic(self, name: str, partitions: int = 4) -> bool:
        """Create a topic for events unless it exists; whether it was created."""
        return bool(self.log.ensure_topics([registry(load(topic=name))[name]], partitions, 1))

    def messages(self, topic: str) -> int:
        """Number of messages in a topic that was written without transactions."""
        return sum(self.log.end_offset(topic, number) for number in range(self.log.partitions(topic)))


@dataclass(frozen=True)
class Bench:
    """A topic of events on a broker."""

    broker: Broker
    topic: str
    trips: int

    @cached_property
    def events(self) -> int:
        """Number of events in the topic."""
        return self.broker.messages(self.topic)

    def outputs(self) -> Outputs:
        """Two new topics."""
        names = self.broker.new_topic("trips"), self.broker.new_topic("windows")
        partitions = self.broker.log.partitions(self.topic)
        self.broker.log.ensure_topics([TopicSpec(name, "", "", ()) for name in names], partitions, 1)
        return names

    def environment(self, outputs: Outputs) -> dict[str, str]:
        """Variables for `assemble`: the topics, and a recovery directory of its own."""
        trips, windows = outputs
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.broker.servers,
            "CHILLFLOW_TOPIC": self.topic,
            "CHILLFLOW_COMPLETE_TOPIC": trips,
            "CHILLFLOW_INCOMPLETE_TOPIC": f"{trips}-incomplete",
            "CHILLFLOW_WINDOWS_TOPIC": windows,
            "CHILLFLOW_RECOVERY_DIR": str(self.broker.folder / f"recovery-{trips}"),
        }

    def ours(self, *, workers: int = 1, epoch: int = EPOCH, **environment: str) -> tuple[Run, Outputs]:
        """Run the command with recovery, windows and exactly-once."""
        outputs = self.outputs()
        names = {**self.environment(outputs), "CHILLFLOW_EPOCH_INTERVAL": f"{epoch}s", **environment}
        command = [*COMMAND, "assemble", "--exit-at-end", "--workers", str(workers)]
        return measured(self.events, command, names), outputs

    def loop(self, *, repeats: bool = False) -> tuple[Run, Outputs]:
        """Run the hand-written loop; with `repeats` it ignores events that come again."""
        outputs = self.outputs()
        arguments = [self.broker.servers, self.topic, *outputs, *(["--repeats"] if repeats else [])]
        command = [sys.executable, "-m", "benchmarks.plain_loop", *arguments]
        return measured(self.events, command, {}), outputs

    def stock(self, epoch: int | None) -> tuple[Run, Outputs]:
        """Run Bytewax's own parts, with recovery only if `epoch` is set."""
        trips, windows = self.outputs()
        names = {
            "BENCH_SERVERS": self.broker.servers,
            "BENCH_TOPIC": self.topic,
            "BENCH_TRIPS": trips,
            "BENCH_WINDOWS": windows,
        }
        arguments: list[str] = []
        if epoch:
            store = self.broker.folder / f"stock-{trips}"
            store.mkdir()
            measured(1, [sys.executable, "-m", "bytewax.recovery", str(store), "1"], {})
            arguments = ["-r", str(store), "-s", str(epoch), "-b", "0"]
        return measured(self.events, [*BYTEWAX, "benchmarks.stock_bytewax", *arguments], names), (trips, windows)

    def peer(self, peer: Peer) -> tuple[Run, Outputs]:
        """Run another library."""
        trips, windows = self.outputs()
        arguments = [self.broker.servers, self.topic, trips, windows, str(self.trips)]
        return measured(self.events, [interpreter(peer), str(peer.script), *arguments], {}), (trips, windows)


def records(log: Log, topic: str) -> Iterator[Record]:
    """All records of a topic, partition by partition."""
    for number in range(log.partitions(topic)):
        with closing(log.reader(topic, number, None, group=None)) as reader:
            yield from chain.from_iterable(records_until_end(reader))


def trips_in(log: Log, topic: str) -> dict[bytes | None, bytes]:
    """A digest of each trip by key. Raises AssertionError if a trip was written twice."""
    found: dict[bytes | None, bytes] = {}
    for record in records(log, topic):
        assert record.key not in found, f"{topic}: {record.key!r} was written twice"
        found[record.key] = blake2b(record.value or b"", digest_size=8).digest()
    return found


def windows_in(log: Log, topic: str) -> dict[bytes | None, Sequence[float]]:
    """The measures of each window by key, from its last message."""
    return {
        record.key: [window[name] for name in MEASURES]
        for record in records(log, topic)
        for window in [decode_value(record.value or b"")]
    }


def counted_in(log: Log, topic: str) -> int:
    """Number of trips counted in a peer's one-hour windows."""
    last: dict[tuple[bytes | None, int], int] = {}
    for record in records(log, topic):
        window = decode_value(record.value or b"")
        last[record.key, window["start"]] = window["value"]
    return sum(last.values())
