"""The whole job on one broker and topic: a hand-written loop, ChillFlow, Bytewax's own parts, other libraries."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import chain, count
from pathlib import Path
from statistics import median

from benchmarks.measuring import COMMAND, Run, Table, measured, spread
from benchmarks.peers import Peer, interpreter
from chillflow.connectors.log import Log, records_until_end
from chillflow.keyed.batches import Record
from chillflow.model.codec import decode_value
from chillflow.model.measures import MEASURES
from chillflow.model.topics import TopicSpec, registry
from chillflow.settings import load

BYTEWAX = [sys.executable, "-m", "bytewax.run"]
EPOCH = 2
"""Epoch interval in seconds, the command's default."""
_EPOCHS = (EPOCH, 3, 5)
"""Epoch intervals to compare: each epoch pays for one snapshot."""


@dataclass(frozen=True)
class Bench:
    """A broker, and a topic of events on it."""

    log: Log
    servers: str
    folder: Path
    topic: str
    trips: int
    _numbers: Iterator[int]

    @classmethod
    def on(cls, log: Log, servers: str, folder: Path, topic: str, trips: int) -> Bench:
        """A bench whose output topics are numbered from 0."""
        return cls(log, servers, folder, topic, trips, count())

    @property
    def events(self) -> int:
        """Number of events in the topic."""
        return 5 * self.trips

    def outputs(self) -> tuple[str, str]:
        """Names of two new topics: for trips and for windows."""
        number = next(self._numbers)
        names = f"{self.topic}-trips-{number}", f"{self.topic}-windows-{number}"
        partitions = self.log.partitions(self.topic)
        self.log.ensure_topics([TopicSpec(name, "", "", ()) for name in names], partitions, 1)
        return names

    def ours(self, *, workers: int = 1, epoch: int = EPOCH, **environment: str) -> tuple[Run, tuple[str, str]]:
        """Run the command with recovery, windows and exactly-once."""
        trips, windows = self.outputs()
        names = {
            "KAFKA_BOOTSTRAP_SERVERS": self.servers,
            "CHILLFLOW_TOPIC": self.topic,
            "CHILLFLOW_COMPLETE_TOPIC": trips,
            "CHILLFLOW_INCOMPLETE_TOPIC": f"{trips}-incomplete",
            "CHILLFLOW_WINDOWS_TOPIC": windows,
            "CHILLFLOW_RECOVERY_DIR": str(self.folder / f"recovery-{trips}"),
            "CHILLFLOW_EPOCH_INTERVAL": f"{epoch}s",
            **environment,
        }
        command = [COMMAND, "assemble", "--exit-at-end", "--workers", str(workers)]
        return measured(self.events, command, names), (trips, windows)

    def loop(self) -> tuple[Run, tuple[str, str]]:
        """Run the hand-written loop."""
        trips, windows = self.outputs()
        command = [sys.executable, "-m", "benchmarks.plain_loop", self.servers, self.topic, trips, windows]
        return measured(self.events, command, {}), (trips, windows)

    def stock(self, epoch: int | None) -> tuple[Run, tuple[str, str]]:
        """Run Bytewax's own parts, with recovery only if `epoch` is set."""
        trips, windows = self.outputs()
        names = {
            "BENCH_SERVERS": self.servers,
            "BENCH_TOPIC": self.topic,
            "BENCH_TRIPS": trips,
            "BENCH_WINDOWS": windows,
        }
        arguments: list[str] = []
        if epoch:
            store = self.folder / f"stock-{trips}"
            store.mkdir()
            measured(1, [sys.executable, "-m", "bytewax.recovery", str(store), "1"], {})
            arguments = ["-r", str(store), "-s", str(epoch), "-b", "0"]
        return measured(self.events, [*BYTEWAX, "benchmarks.stock_bytewax", *arguments], names), (trips, windows)

    def peer(self, peer: Peer) -> tuple[Run, tuple[str, str]]:
        """Run another library."""
        trips, windows = self.outputs()
        arguments = [self.servers, self.topic, trips, windows, str(self.trips)]
        return measured(self.events, [interpreter(peer), str(peer.script), *arguments], {}), (trips, windows)


_OURS, _STOCK = "ChillFlow, 1 worker, epochs of {} s", "Bytewax's own parts, epochs of {} s"
Contender = Callable[[], tuple[Run, tuple[str, str]]]


def compare(bench: Bench, repeat: int, *, stock: bool, peers: Sequence[Peer] = ()) -> Table:
    """Run all contenders in turn, `repeat` times, and check their outputs against the loop's.

    A ratio compares two runs of the same round. Contenders other than ours and the loop run once, as they take minutes.
    """
    contenders: dict[str, Contender] = {
        "hand-written loop, no guarantees": bench.loop,
        **{_OURS.format(epoch): partial(bench.ours, epoch=epoch) for epoch in _EPOCHS},
        "ChillFlow, 2 workers": partial(bench.ours, workers=2),
    }
    ours = [*contenders]
    if stock:
        contenders["Bytewax's own parts, no recovery"] = partial(bench.stock, None)
        contenders |= {_STOCK.format(epoch): partial(bench.stock, epoch) for epoch in _EPOCHS}
    contenders |= {peer.name: partial(bench.peer, peer) for peer in peers}
    others = [name for name in contenders if name not in ours]
    remarks = ""
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    first, *_ = contenders
    expected: Mapping[str, object] = {}
    for number in range(repeat):
        for name, run in contenders.items():
            if number and name in others:
                continue
            taken, outputs = run()
            runs[name].append(taken)
            print(f"  {name}: {taken.rate:,.0f} events/s, {taken.cpu_us:.1f} µs per event", file=sys.stderr)
            if name in others:  # their trips have other fields, so count only
                found = len({record.key for record in records(bench.log, outputs[0])})
                assert found == bench.trips, f"{name}: {found} trips of {bench.trips}"
                if not name.startswith("Bytewax"):
                    share = 1 - counted_in(bench.log, outputs[1]) / bench.trips
                    remarks += f" {name}: {share:.0%} of the trips are missing from its windows."
                continue
            trips = trips_in(bench.log, outputs[0])
            assert len(trips) == bench.trips, f"{name}: {len(trips)} trips of {bench.trips}"
            result = {"trips": trips, "windows": windows_in(bench.log, outputs[1])}
            expected = expected or result
            for what, values in result.items():
                assert values == expected[what], f"{name}: {what} differ from the loop's"
    rows = [
        [
            name,
            spread([run.rate for run in some], ",.0f"),
            spread([run.rate / loop.rate for run, loop in zip(some, runs[first], strict=False)], ".2f"),
            spread([run.cpu_us for run in some], ".1f"),
        ]
        for name, some in runs.items()
    ]
    if stock:
        rates = {name: median(run.rate for run in some) for name, some in runs.items()}
        times = [f"{rates[_OURS.format(each)] / rates[_STOCK.format(each)]:.1f}× ({each} s)" for each in _EPOCHS]
        remarks += f" Speed relative to Bytewax's own parts, by epoch interval: {', '.join(times)}."
    note = (
        f"{bench.events:,} events of {bench.trips:,} generated trips in {bench.log.partitions(bench.topic)} partitions,"
        " read from the start; startup and shutdown included. ChillFlow runs with recovery, windows of 15 min and 1 h,"
        " and exactly-once. The loop makes the same trips and windows: every output was compared."
        f"{remarks}"
    )
    return Table("The whole job", ["", "events/s", "relative to the loop", "CPU µs per event"], rows, note)


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


def events_topic(log: Log, name: str, partitions: int) -> None:
    """Create a topic for events."""
    specs = registry(load(topic=name))
    log.ensure_topics([specs[name]], partitions, 1)
