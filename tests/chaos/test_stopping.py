"""A drain while the broker hangs: the run ends after the drain limit, and the next run repeats what is unfinished."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pipelines.pipeline import Pipeline, unique_topics
from tests.pipelines.topics import BrokerTopics
from tests.servers.kafka import KafkaServer
from tests.servers.kafka_topics import KafkaTopics

pytestmark = pytest.mark.long


@pytest.fixture
def on_own_kafka(own_kafka: KafkaServer, tmp_path: Path) -> Pipeline:
    """A pipeline on a broker that can be frozen, without a database."""
    topics = BrokerTopics(KafkaTopics(own_kafka.bootstrap_servers))
    return Pipeline(tmp_path, own_kafka.bootstrap_servers, "", topics, **unique_topics())


@contextmanager
def frozen(server: KafkaServer) -> Iterator[None]:
    """Suspend the server while the body runs: it accepts connections and answers nothing."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_drain_has_a_limit(
    on_own_kafka: Pipeline,
    own_kafka: KafkaServer,
    trips_file: Path,
    workers: int,
) -> None:
    pipeline = on_own_kafka
    pipeline.produce(trips_file, "--limit", 50)
    epoch = "2.5s"  # the longest with a drain limit of 10 s; transactions are in flight all the time
    with pipeline.start("assemble", "--workers", workers, CHILLFLOW_EPOCH_INTERVAL=epoch) as assembling:
        assembling.wait_for(lambda: len(pipeline.trips()) == 50)
        with pipeline.start("produce-from-file", "--file", trips_file, "--rate", 100):
            assembling.wait_for(lambda: len(pipeline.trips()) > 60)
            with frozen(own_kafka):
                time.sleep(1)  # more is in flight
                start = time.monotonic()
                ended = assembling.stop(within=60)
                seconds = time.monotonic() - start
                # The broker is still suspended, so only the limit can have ended the run: no band of seconds is needed.

    assert ended.code == 1
    assert seconds > 9
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [ended.stderr.splitlines()[-1]]
    assert errors[0].startswith("error: the run did not drain within 10 s")
    pipeline.produce(trips_file)
    assert pipeline.assemble()["complete_trips"] == 300
    assert len({trip["trip_key"] for trip in pipeline.trips()}) == len(pipeline.trips()) == 300


def test_a_second_signal_stops_a_drain_at_once(
    on_own_kafka: Pipeline,
    own_kafka: KafkaServer,
    trips_file: Path,
) -> None:
    pipeline = on_own_kafka
    with (
        pipeline.start("produce-from-file", "--file", trips_file, "--rate", 50) as replay,
        pipeline.start("assemble", CHILLFLOW_EPOCH_INTERVAL="60s") as assembling,
    ):
        assembling.wait_for(lambda: bool(pipeline.trips()))
        with frozen(own_kafka):
            time.sleep(1)  # transactions are in flight
            both = (assembling, replay)
            for running in both:
                running.process.send_signal(signal.SIGTERM)
            time.sleep(2)
            assert [running.process.poll() for running in both] == [None, None]
            for running in both:
                assert running.stop(signal.SIGINT, within=5).code == 128 + signal.SIGINT
