"""Latency from the broker's acknowledgement of a trip's last needed event to the trip at a `read_committed` reader."""

from __future__ import annotations

import gc
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from benchmarks.bench import Bench, Broker
from benchmarks.measuring import COMMAND, Table, environment_with
from benchmarks.state import messages_of
from chillflow.model.codec import KINDS, decode
from chillflow.model.events import EVENT_CLASSES

__all__ = ["latency"]

SECONDS = 20
_FIRST_SECONDS = 1
"""Events sent first, to wait for the first trip: the rest finds a running pipeline."""
_BURST = 50
"""Events sent without a pause."""
_LEAST_RATE = 0.98
"""The share of the rate that a sender must sustain."""


class Load(NamedTuple):
    """Events to send, and the bounds on the latency of their trips."""

    title: str
    shuffle: timedelta
    rate: int
    """Events per second."""
    p50: int | None
    """Bounds, ms."""
    p99: int | None


LOADS = (
    Load("as produced", timedelta(0), 5_000, None, None),
    Load("shuffled by 60 s", timedelta(seconds=60), 5_000, 120, 400),
    Load("shuffled by 60 s", timedelta(seconds=60), 20_000, None, 800),
)


class Prepared(NamedTuple):
    """An event ready to be sent."""

    key: bytes
    value: bytes
    timestamp: int
    needed: bool
    """Whether a complete trip must have it."""


class Latencies(NamedTuple):
    """What one load showed."""

    sent: int
    rate: float
    """Events per second that were sent."""
    first: float
    """Seconds from starting the command to the first trip."""
    taken: list[float]
    """Seconds from the acknowledgement to the trip, of each trip after the first."""


def latency(broker: Broker, file: Path) -> Table:
    """Measure a running pipeline under each load while the trips of a file are sent for 20 s."""
    rows, firsts = [], []
    for load in LOADS:
        seen = _under(broker, file, load)
        cuts = statistics.quantiles(seen.taken, n=100)
        row = [load.title, f"{seen.rate:,.0f}", f"{seen.sent:,}"]
        for at, bound in ((50, load.p50), (99, load.p99)):
            row += [f"{cuts[at - 1] * 1000:,.0f}", f"{bound}" if bound else ""]
        rows.append([*row, f"{max(seen.taken) * 1000:,.0f}"])
        firsts.append(seen.first)
    note = (
        "From the broker's acknowledgement of the last event that a trip needs to the trip's arrival at a"
        " `read_committed` reader on the same machine; one worker, with recovery, windows and exactly-once. From"
        f" starting `chillflow-stream assemble` to the first trip at that reader: {statistics.median(firsts):.1f} s."
    )
    head = ["events", "events/s", "sent", "p50, ms", "bound", "p99, ms", "bound", "max, ms"]
    return Table(head, rows, note)


def _under(broker: Broker, file: Path, load: Load) -> Latencies:
    bench = Bench(broker, broker.new_topic("live"), 0)
    broker.events_topic(bench.topic)
    outputs = bench.outputs()
    events = _prepared(file, bench.topic, load)
    first = _FIRST_SECONDS * load.rate
    acknowledged: dict[bytes, float] = {}
    gc.collect()
    gc.freeze()  # else each full collection would go through all events
    start = time.monotonic()
    with _arrivals(broker, outputs[0]) as arrived, _assembling(bench.environment(outputs)):
        _send(broker.servers, bench.topic, events[:first], load.rate, acknowledged)
        while not arrived and time.monotonic() < start + 60:
            time.sleep(0.01)
        until_first = min(arrived.values()) - start
        rate = _send(broker.servers, bench.topic, events[first:], load.rate, acknowledged)
        time.sleep(3)
    gc.unfreeze()
    assert rate > _LEAST_RATE * load.rate, f"only {rate:,.0f} events/s were sent"
    after = start + until_first + 2  # once it has caught up with the events sent while it started
    taken = [arrived[key] - at for key, at in acknowledged.items() if at > after and key in arrived]
    return Latencies(len(events), rate, until_first, taken)


def _prepared(file: Path, topic: str, load: Load) -> list[Prepared]:
    messages = islice(messages_of(file, topic, load.shuffle), (_FIRST_SECONDS + SECONDS) * load.rate)
    return [
        Prepared(each.key or b"", value, each.timestamp or 0, EVENT_CLASSES[KINDS[type(decode(value))]].needed)
        for each in messages
        for value in [each.value or b""]
    ]


@contextmanager
def _assembling(environment: dict[str, str]) -> Iterator[None]:
    running = subprocess.Popen([*COMMAND, "assemble"], env=environment_with(**environment), stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.terminate()
        running.wait()


@contextmanager
def _arrivals(broker: Broker, topic: str) -> Iterator[dict[bytes, float]]:
    """Monotonic time at which each trip arrived, filled by a thread."""
    arrived: dict[bytes, float] = {}
    done = threading.Event()

    def read() -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": broker.servers,
                "group.id": "latency",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
            }
        )
        consumer.assign([TopicPartition(topic, number, 0) for number in range(broker.log.partitions(topic))])
        while not done.is_set():
            message = consumer.poll(0.05)  # returns each message at once; `consume` would wait for more
            if message is not None and not message.error():
                arrived[message.key() or b""] = time.monotonic()
        consumer.close()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield arrived
    finally:
        done.set()
        reader.join()


def _send(servers: str, topic: str, events: Sequence[Prepared], rate: int, acknowledged: dict[bytes, float]) -> float:
    """Send events at an even rate and return the rate that was reached.

    `acknowledged` gets the time of the last acknowledgement of a needed event by key.
    """
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 1})

    def note(error: KafkaError | None, delivered: Message) -> None:
        acknowledged[delivered.key() or b""] = time.monotonic()  # the last one counts

    start = time.monotonic()
    for sent, (key, value, timestamp, needed) in enumerate(events, 1):
        if needed:
            producer.produce(topic, value, key, timestamp=timestamp, on_delivery=note)
        else:
            producer.produce(topic, value, key, timestamp=timestamp)
        if sent % _BURST == 0:
            _serve(producer, until=start + sent / rate)
    taken = time.monotonic() - start
    producer.flush()
    return len(events) / taken


def _serve(producer: Producer, until: float) -> None:
    """Serve delivery reports until a monotonic time, once at least: `poll` returns after the first ones."""
    producer.poll(0)
    while (left := until - time.monotonic()) > 0:
        producer.poll(left)
