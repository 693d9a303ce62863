"""Latency of results, also when no message follows."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from chillflow.synthetic.trip_generator import generate
from tests.integration.test_assembling import send, values
from tests.pipelines.pipeline import Pipeline
from tests.servers.kafka_topics import KafkaTopics


@pytest.mark.kafka
def test_the_last_trip_is_readable_long_before_its_epoch_ends(on_kafka: Pipeline) -> None:
    on_kafka.run("create-topic")
    with on_kafka.start("assemble", CHILLFLOW_EPOCH_INTERVAL="1h") as assembling:
        assembling.wait_for(lambda: KafkaTopics(on_kafka.address).exists(on_kafka.complete))
        consumer = Consumer(
            {"bootstrap.servers": on_kafka.address, "group.id": "latency", "isolation.level": "read_committed"}
        )
        consumer.assign([TopicPartition(on_kafka.complete, number, 0) for number in range(4)])
        consumer.poll(1)
        seconds = []
        for number in range(10):
            trip_key = f"trip {number}"
            send(on_kafka, *values(trip_key=trip_key))
            sent = time.monotonic()
            message = consumer.poll(20)
            seconds.append(time.monotonic() - sent)
            assert message is not None
            assert message.key() == trip_key.encode()
        consumer.close()
    p50, longest = statistics.median(seconds), max(seconds)
    print(f"readable after {p50 * 1000:.0f} ms (p50), {longest * 1000:.0f} ms (max)")
    assert p50 < 1  # about 0.15 on an idle machine


@pytest.mark.kafka
def test_a_replay_is_readable_long_before_its_epoch_ends(on_kafka: Pipeline, tmp_path: Path) -> None:
    trips = 20_000
    generate(tmp_path / "trips.parquet", trips)
    on_kafka.produce(tmp_path / "trips.parquet")
    with on_kafka.start("assemble", CHILLFLOW_EPOCH_INTERVAL="1h") as assembling:
        assembling.wait_for(lambda: KafkaTopics(on_kafka.address).exists(on_kafka.complete))
        assembling.wait_for(lambda: len({each.key for each in on_kafka.topics.read(on_kafka.complete)}) == trips)
