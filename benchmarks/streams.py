"""Topics of events in the orders that are measured: as produced, in disorder, or partly by another producer."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import NamedTuple

from benchmarks.bench import Bench, Broker
from benchmarks.measuring import COMMAND, Run, measured
from chillflow.connectors.log import records_until_end
from chillflow.model.codec import decode_value, encode_value
from chillflow.model.messages import Message
from chillflow.synthetic.trip_generator import generate

__all__ = ["IN_ORDER", "PARTLY_FOREIGN", "REPEATED_AND_LOST", "SHUFFLED", "SHUFFLED_WIDELY", "Stream", "Streams"]

FOREIGN = 0.1
"""Share of the messages that another producer wrote."""
_FOREIGN_ZONE = timezone(timedelta(hours=-5))


class Stream(NamedTuple):
    """An order of the events."""

    name: str
    options: tuple[str, ...] = ()
    """Options of `produce-from-file`."""
    repeats: bool = False
    loses: bool = False
    foreign: bool = False
    """Whether another producer wrote some of the messages."""


IN_ORDER = Stream("in-order")
SHUFFLED = Stream("shuffled-60", ("--shuffle-seconds", "60"))
SHUFFLED_WIDELY = Stream("shuffled-3600", ("--shuffle-seconds", "3600"))
REPEATED_AND_LOST = Stream(
    "repeated-lost",
    ("--shuffle-seconds", "3600", "--duplicates", "0.05", "--drop", "0.01"),
    repeats=True,
    loses=True,
)
PARTLY_FOREIGN = Stream("another-producer", foreign=True)


@dataclass(frozen=True)
class Streams:
    """Topics with the events of the same generated trips, in 4 partitions, made on first use."""

    broker: Broker
    trips: int
    prefix: str
    """Start of the topics' names. A topic of that name that exists is used as it is."""

    @property
    def file(self) -> Path:
        """The file of the trips."""
        path = self.broker.folder / "trips.parquet"
        if not path.exists():
            generate(path, self.trips)
        return path

    def bench(self, stream: Stream) -> Bench:
        """The topic of a stream."""
        bench = Bench(self.broker, f"{self.prefix}-{stream.name}", self.trips)
        source = self.bench(IN_ORDER).topic if stream.foreign else None
        if self.broker.events_topic(bench.topic):
            try:
                if source:
                    rewrite(self.broker, source, bench.topic)
                else:
                    produce(self.broker, bench.topic, self.file, self.trips, *stream.options)
            except BaseException:
                self.broker.log.remove_topics([bench.topic])
                raise
        return bench


def produce(broker: Broker, topic: str, file: Path, trips: int, *options: str) -> Run:
    """Run the command that replays a file."""
    names = {"KAFKA_BOOTSTRAP_SERVERS": broker.servers, "CHILLFLOW_TOPIC": topic}
    return measured(5 * trips, [*COMMAND, "produce-from-file", "--file", str(file), *options], names)


def rewrite(broker: Broker, source: str, target: str) -> None:
    """Copy a topic, each partition in its order, with some messages as another producer would write them."""
    random, log = Random(1), broker.log
    with closing(log.writer("benchmark-rewrite")) as writer:
        for number in range(log.partitions(source)):
            with closing(log.reader(source, number, None, group=None)) as reader:
                for records in records_until_end(reader):
                    messages = [
                        Message(
                            target,
                            each.key,
                            foreign(each.value or b"") if random.random() < FOREIGN else each.value,
                            each.timestamp,
                        )
                        for each in records
                    ]
                    writer.send_all(messages, number)
        writer.flush()


def foreign(value: bytes) -> bytes:
    """The event as another producer writes it: no id, other UTC offsets, columns of its own, text beyond ASCII."""
    event = decode_value(value)
    del event["event_id"]
    for name in ("event_time", "pickup_ts", "dropoff_ts"):
        if name in event:
            event[name] = datetime.fromisoformat(event[name]).astimezone(_FOREIGN_ZONE).isoformat()
    event["operator"] = "Táxis São Jorge"
    if event["event_type"] == "trip_ended":
        event["extra_columns"] = {**(event.get("extra_columns") or {}), "tariff": "día · №2"}
    return encode_value(event)
