"""Topics that are recreated, truncated or repartitioned: the assembly stops with an error and skips nothing."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from tests.pipelines.pipeline import Pipeline
from tests.servers._process import wait_until

pytestmark = pytest.mark.kafka

K = TypeVar("K")
V = TypeVar("V")


@pytest.fixture
def admin(on_kafka: Pipeline) -> AdminClient:
    return AdminClient({"bootstrap.servers": on_kafka.address})


def wait_for(futures: Mapping[K, Future[V]]) -> None:
    """Wait for all results of an admin call."""
    for future in futures.values():
        future.result(timeout=30)


def remove(admin: AdminClient, topic: str) -> None:
    wait_for(admin.delete_topics([topic]))
    assert wait_until(lambda: topic not in admin.list_topics(timeout=10).topics, timeout=30)


def set_config(admin: AdminClient, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    wait_for(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]))


def test_a_recreated_topic_is_an_error(on_kafka: Pipeline, admin: AdminClient, trips_file: Path) -> None:
    on_kafka.produce(trips_file, "--limit", 50)
    on_kafka.assemble()
    remove(admin, on_kafka.topic)
    on_kafka.produce(trips_file)  # more than before: all stored offsets exist in the new topic, too

    line = on_kafka.fail("assemble", "--exit-at-end")

    assert line.startswith(f"topic {on_kafka.topic!r} was recreated after the recovery store in ")
    assert len(on_kafka.trips()) == 50


def test_added_partitions_are_an_error(on_kafka: Pipeline, admin: AdminClient, trips_file: Path) -> None:
    on_kafka.produce(trips_file, "--limit", 50)
    on_kafka.assemble()
    wait_for(admin.create_partitions([NewPartitions(on_kafka.topic, 6)]))
    on_kafka.produce(trips_file)

    line = on_kafka.fail("assemble", "--exit-at-end")

    assert "was made with partitions=4, not 6" in line
    assert len(on_kafka.trips()) == 50


def test_messages_deleted_by_retention_are_an_error(on_kafka: Pipeline, admin: AdminClient, trips_file: Path) -> None:
    on_kafka.produce(trips_file, "--limit", 50)
    on_kafka.assemble()
    on_kafka.produce(trips_file)
    ends = {event.partition: event.offset for event in on_kafka.events()}
    wait_for(admin.delete_records([TopicPartition(on_kafka.topic, number, end) for number, end in ends.items()]))

    line = on_kafka.fail("assemble", "--exit-at-end")

    assert "is not in the topic any more (retention, or recreated?)" in line
    assert len(on_kafka.trips()) == 50


def test_a_trip_too_large_for_its_topic_stops_the_run(on_kafka: Pipeline, admin: AdminClient, trips_file: Path) -> None:
    on_kafka.produce(trips_file, "--limit", 50)
    on_kafka.assemble()
    set_config(admin, on_kafka.complete, "max.message.bytes", "300")
    on_kafka.produce(trips_file)

    for _ in range(2):
        line = on_kafka.fail("assemble", "--exit-at-end")
        assert line.startswith(f"a message for {on_kafka.complete} was not delivered: ")
        assert "too large" in line.lower() or "size" in line.lower()
    set_config(admin, on_kafka.complete, "max.message.bytes", "1000000")
    on_kafka.assemble()

    assert len({trip["trip_key"] for trip in on_kafka.trips()}) == len(on_kafka.trips()) == 300


@pytest.mark.parametrize("recreated", [False, True])
def test_a_topic_deleted_during_a_run_is_an_error(
    on_kafka: Pipeline, admin: AdminClient, trips_file: Path, recreated: bool
) -> None:
    on_kafka.produce(trips_file, "--limit", 50)
    with on_kafka.start("assemble") as assembling:
        assembling.wait_for(lambda: len(on_kafka.trips()) == 50)
        remove(admin, on_kafka.topic)
        if recreated:
            on_kafka.produce(trips_file)
        ended = assembling.result(within=60)

    assert ended.code == 1
    line = ended.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert on_kafka.topic in line


def test_partitions_added_during_a_run_are_an_error(on_kafka: Pipeline, admin: AdminClient, trips_file: Path) -> None:
    on_kafka.produce(trips_file, "--limit", 50)
    with on_kafka.start("assemble") as assembling:
        assembling.wait_for(lambda: len(on_kafka.trips()) == 50)
        wait_for(admin.create_partitions([NewPartitions(on_kafka.topic, 6)]))
        ended = assembling.result(within=60)

    assert ended.code == 1
    assert "now has 6 partitions, of which 4 are read" in ended.stderr.splitlines()[-1]
