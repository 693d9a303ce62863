"""Latency from the broker's acknowledgement of a trip's last event to the trip at a `read_committed` reader."""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
import time
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.measuring import COMMAND, Table
from benchmarks.pipeline import Bench
from benchmarks.state import messages_of


def latency(bench: Bench, file: Path, topic: str, rate: int, seconds: int) -> Table:
    """Measure a running pipeline while the trips of a file are sent at `rate` events/s for `seconds`."""
    trips, windows = bench.outputs()
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
        "KAFKA_BOOTSTRAP_SERVERS": bench.servers,
        "CHILLFLOW_TOPIC": topic,
        "CHILLFLOW_COMPLETE_TOPIC": trips,
        "CHILLFLOW_WINDOWS_TOPIC": windows,
        "CHILLFLOW_RECOVERY_DIR": str(bench.folder / f"recovery-{topic}"),
    }
    acknowledged: dict[bytes, float] = {}
    arrived: dict[bytes, float] = {}
    done = threading.Event()

    def read() -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": bench.servers,
                "group.id": "latency",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
            }
        )
        consumer.assign([TopicPartition(trips, number, 0) for number in range(bench.log.partitions(trips))])
        while not done.is_set():
            message = consumer.poll(0.05)  # returns each message at once; `consume` would wait for more
            if message is not None and not message.error():
                arrived[message.key() or b""] = time.monotonic()
        consumer.close()

    reader = threading.Thread(target=read)
    reader.start()
    start = time.monotonic()
    assembling = subprocess.Popen([COMMAND, "assemble"], env=environment, stderr=subprocess.DEVNULL)
    try:
        first = _send(bench.servers, topic, file, rate, 1, acknowledged)
        while not arrived and time.monotonic() < start + 60:
            time.sleep(0.01)
        until_first = min(arrived.values()) - start
        sent = first + _send(bench.servers, topic, file, rate, seconds, acknowledged, skip=first)
        time.sleep(3)
    finally:
        assembling.terminate()
        assembling.wait()
        done.set()
        reader.join()
    after = start + until_first + 2  # once it has caught up with the events sent while it started
    taken = sorted(arrived[key] - at for key, at in acknowledged.items() if at > after and key in arrived)
    cuts = statistics.quantiles(taken, n=100)
    row = [f"{rate:,}", f"{sent:,}", *(f"{cuts[at - 1] * 1000:,.0f}" for at in (50, 99)), f"{max(taken) * 1000:,.0f}"]
    return Table(
        "Latency",
        ["events/s", "events", "p50, ms", "p99, ms", "max, ms"],
        [row],
        "From the broker's acknowledgement of a trip's last event to the trip's arrival at a `read_committed` reader on"
        " the same machine; one worker, with recovery, windows and exactly-once. From starting `chillflow-stream"
        f" assemble` to the first trip at that reader: {until_first:.1f} s.",
    )


def _send(
    servers: str, topic: str, file: Path, rate: int, seconds: int, acknowledged: dict[bytes, float], skip: int = 0
) -> int:
    """Send events in order at an even rate; returns how many were sent.

    `acknowledged` gets the time of the last acknowledgement by key.
    """
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 1})
    start, sent, number = time.monotonic(), 0, 0
    for message in messages_of(file, topic):
        number += 1
        if number <= skip:
            continue

        def note(error: object, delivered: object, key: bytes = message.key or b"") -> None:
            acknowledged[key] = time.monotonic()  # the last one counts

        producer.produce(topic, message.value, message.key, timestamp=message.timestamp or 0, on_delivery=note)
        sent += 1
        if sent % 50 == 0:
            producer.poll(max(0.0, start + sent / rate - time.monotonic()))
        if sent >= rate * seconds:
            break
    producer.flush()
    return sent
