"""`doctor` finds each fault and says what to do."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from chillflow.model.codec import encode
from chillflow.model.events import ZoneExitedEvent
from tests.pipelines.pipeline import Pipeline
from tests.servers.kafka_topics import KafkaTopics


class Diagnosis(NamedTuple):
    """The output of `doctor --json`."""

    code: int
    findings: list[dict[str, Any]]

    @property
    def wrong(self) -> dict[str, str]:
        """Faults and advice, by check."""
        return {
            each["check"]: f"{each['found']} -> {each['advice']}" for each in self.findings if each["status"] == "wrong"
        }

    def said(self, check: str) -> str:
        """Status and result of a check."""
        return " | ".join(f"{each['status']}: {each['found']}" for each in self.findings if each["check"] == check)


def diagnose(pipeline: Pipeline, *arguments: object, **changes: Any) -> Diagnosis:
    done = pipeline.run("doctor", "--json", *arguments, code=None, **changes)
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert said["ok"] == (done.code == 0) == all(each["status"] != "wrong" for each in said["findings"])
    return Diagnosis(done.code, said["findings"])


@pytest.fixture
def healthy(pipeline: Pipeline, trips_file: Path) -> Pipeline:
    """A pipeline that has assembled its topic."""
    pipeline.run("init-db")
    pipeline.produce(trips_file)
    pipeline.assemble()
    return pipeline


def test_a_healthy_pipeline(healthy: Pipeline) -> None:
    diagnosis = diagnose(healthy)

    assert diagnosis.code == 0, diagnosis.wrong
    assert {each["check"] for each in diagnosis.findings} == {
        "broker",
        *(f"topic {name}" for name in (healthy.topic, healthy.complete, healthy.incomplete, healthy.windows)),
        *(f"topic {healthy.topic}.{name}" for name in ("late", "dlq")),
        *("keys", "timestamps", "watermark", "database", "clock", "recovery", "late events"),
    }
    assert re.fullmatch(r"ok: 1,[45]\d0 sampled messages are where our producers put them", diagnosis.said("keys"))
    assert diagnosis.said(f"topic {healthy.topic}") == "ok: 4 partitions, kept for ever"
    assert diagnosis.said(f"topic {healthy.windows}") == "ok: 4 partitions, compacted"
    assert diagnosis.said("recovery").startswith("ok: not in use, epoch ")
    shown = healthy.run("doctor")
    assert max(len(line) for line in shown.lines if "/" not in line) <= 80
    assert sum(line.startswith("ok      ") for line in shown.lines) == len(diagnosis.findings)


def test_the_advice_repairs_the_pipeline(pipeline: Pipeline) -> None:
    diagnosis = diagnose(pipeline)

    assert {check: said.rpartition(" -> ")[2] for check, said in diagnosis.wrong.items()} == {
        f"topic {pipeline.topic}": f"chillflow-stream create-topic --topic {pipeline.topic}",
        "database": "chillflow-stream init-db",
    }
    assert not list(pipeline.folder.iterdir()), "it changes nothing"
    for said in diagnosis.wrong.values():
        pipeline.run(*said.rpartition("chillflow-stream ")[2].split())
    assert diagnose(pipeline).code == 0


@pytest.mark.parametrize("address", ["127.0.0.1:1", "file:/dev/null/topics"])
def test_no_broker(embedded: Pipeline, address: str) -> None:
    embedded.run("init-db")

    diagnosis = diagnose(embedded, KAFKA_BOOTSTRAP_SERVERS=address, CHILLFLOW_KAFKA_TIMEOUT="1")

    assert [*diagnosis.wrong] == ["broker"] if "127" in address else ["topic trip-events"]
    assert diagnosis.said("database").startswith("ok")


# Topics


def make(kafka: KafkaTopics, name: str, partitions: int = 4, **config: str) -> None:
    """Create a topic with a foreign configuration."""
    settings = {each.replace("_", "."): value for each, value in config.items()}
    kafka._admin.create_topics([NewTopic(name, partitions, 1, config=settings)])[name].result(timeout=30)


@pytest.mark.kafka
def test_topics_with_a_foreign_configuration(on_kafka: Pipeline, kafka: KafkaTopics) -> None:
    make(kafka, on_kafka.topic, 4, message_timestamp_type="LogAppendTime", retention_bytes="1000000")
    make(kafka, on_kafka.complete, 2, retention_ms="-1", message_timestamp_after_max_ms=str(2**63 - 1))
    make(kafka, on_kafka.incomplete, 4, cleanup_policy="compact", message_timestamp_after_max_ms=str(2**63 - 1))
    make(kafka, on_kafka.windows, 4, message_timestamp_after_max_ms=str(2**63 - 1))
    make(kafka, f"{on_kafka.topic}.late", 4, retention_ms="-1")

    diagnosis = diagnose(on_kafka)

    def said(topic: str) -> str:
        return diagnosis.said(f"topic {topic}")

    assert "wrong: retention.ms=604800000: timestamps are event times" in said(on_kafka.topic)
    assert "wrong: retention.bytes=1000000: the oldest" in said(on_kafka.topic)
    assert "wrong: message.timestamp.type=LogAppendTime" in said(on_kafka.topic)
    assert said(on_kafka.complete) == f"wrong: 2 partitions, but {on_kafka.topic} has 4"
    assert said(on_kafka.incomplete).startswith("wrong: cleanup.policy=compact: only the last message of a key")
    assert said(on_kafka.windows).startswith("wrong: cleanup.policy=delete: old values")
    assert "retention.ms=604800000" in said(on_kafka.windows)
    assert said(f"{on_kafka.topic}.late").startswith("wrong: message.timestamp.after.max.ms=3600000")
    assert said(on_kafka.dlq).startswith("ok: does not exist yet")
    advice = {each["advice"] for each in diagnosis.findings}
    alter = f"kafka-configs.sh --bootstrap-server {on_kafka.address} --alter --topic {on_kafka.windows} --add-config"
    assert {f"{alter} cleanup.policy=compact", "set CHILLFLOW_EVENT_TIME=body"} <= advice
    assert "LogAppendTime" not in str(diagnose(on_kafka, "--event-time", "body").wrong)


@pytest.mark.kafka
def test_a_missing_topic_that_may_not_be_created(on_kafka: Pipeline) -> None:
    on_kafka.run("create-topic")

    wrong = diagnose(on_kafka, "--no-create-topics").wrong

    assert wrong[f"topic {on_kafka.complete}"] == (
        f"does not exist -> chillflow-stream create-topic --topic {on_kafka.complete}"
    )


# Messages


def events_at(time: datetime, count: int) -> list[tuple[bytes, bytes]]:
    """Messages of `count` trips, as (key, value)."""
    events = [
        ZoneExitedEvent(trip_key=f"trip-{n}", event_time=time, pickup_ts=time, pu_zone_id=1) for n in range(count)
    ]
    return [(event.trip_key.encode(), encode(event)) for event in events]


def test_events_of_a_trip_in_two_partitions(healthy: Pipeline) -> None:
    for partition in (0, 1):
        for key, value in events_at(datetime(2024, 1, 2, tzinfo=UTC), 30):
            healthy.topics.send(healthy.topic, key, value, timestamp=1704153600000, partition=partition)

    wrong = diagnose(healthy).wrong

    assert [*wrong] == ["keys"]
    assert "sampled keys are in more than one partition: such trips time out" in wrong["keys"]


@pytest.mark.kafka
def test_keys_placed_by_another_partitioner(on_kafka: Pipeline) -> None:
    on_kafka.run("create-topic")
    producer = Producer({"bootstrap.servers": on_kafka.address})  # librdkafka's default: CRC32
    for key, value in events_at(datetime.now(UTC), 100):
        producer.produce(on_kafka.topic, value, key)
    assert producer.flush(30) == 0

    wrong = diagnose(on_kafka).wrong

    assert [*wrong] == ["keys"]
    assert "of 100 sampled messages are not where our producers" in wrong["keys"]
    assert "partitioner=murmur2_random" in wrong["keys"]


def test_timestamps_that_are_not_event_times(healthy: Pipeline) -> None:
    for key, value in events_at(datetime(2024, 1, 2, tzinfo=UTC), 10):
        healthy.topics.send(healthy.topic, key, value, timestamp=1704000000000, partition=2)

    assert "set CHILLFLOW_EVENT_TIME=body" in diagnose(healthy).wrong["timestamps"]
    assert "timestamps" not in diagnose(healthy, "--event-time", "body").wrong


def test_a_watermark_ahead_of_the_clock(healthy: Pipeline) -> None:
    ahead = datetime.now(UTC) + timedelta(days=30)
    watermark = int(ahead.timestamp() * 1000)
    for key, value in events_at(ahead, 19):
        healthy.topics.send(healthy.topic, key, value, timestamp=watermark, partition=3)
    assert "watermark" not in diagnose(healthy).wrong, "the watermark has rank 20"
    healthy.topics.send(healthy.topic, key, value, timestamp=watermark, partition=3)

    wrong = diagnose(healthy).wrong["watermark"]
    assert wrong.startswith("no `assemble` answers; newest events: 29 d 23 h ahead of this clock (partition 3): ")


# Database


def test_migrations_that_are_missing_or_unknown(healthy: Pipeline) -> None:
    run(healthy, "delete from chillflow_migration where version > 2")
    missing = diagnose(healthy).wrong
    run(healthy, "insert into chillflow_migration (version, name) values (9999, 'to_come')")
    newer = diagnose(healthy).wrong

    assert [*missing] == [*newer] == ["database"]
    assert missing["database"].startswith("migrations are missing: incomplete_trip, zone_window")
    assert missing["database"].endswith("-> chillflow-stream init-db")
    assert "of a newer release (migration 9999)" in newer["database"]


def run(pipeline: Pipeline, statement: str) -> None:
    if pipeline.embedded:
        pipeline.query(statement)
    else:
        with psycopg.connect(pipeline.database) as server:
            server.execute(statement.encode())


def test_no_database_and_an_unreachable_one(embedded: Pipeline) -> None:
    embedded.run("create-topic")

    assert diagnose(embedded, DATABASE_URL=None).said("database").startswith("ok: none")
    wrong = diagnose(embedded, DATABASE_URL="postgresql://me:secret@127.0.0.1:1/trips").wrong
    assert wrong["database"].startswith("no Postgres answers")
    assert "secret" not in wrong["database"]


@pytest.mark.postgres
def test_a_database_whose_clock_is_wrong(embedded: Pipeline, database_url: str) -> None:
    embedded.run("init-db", DATABASE_URL=database_url)
    embedded.run("create-topic")
    with psycopg.connect(database_url) as server:
        name = server.info.dbname
        server.execute("create schema wrong")
        server.execute(
            "create function wrong.clock_timestamp() returns timestamptz language sql"
            " as $$ select pg_catalog.clock_timestamp() - interval '90 min' $$"
        )
        server.execute(f'alter database "{name}" set search_path = wrong, pg_catalog, public'.encode())

    wrong = diagnose(embedded, DATABASE_URL=database_url).wrong

    assert [*wrong] == ["clock"]
    assert "differ by 1 h 30 min" in wrong["clock"] or "differ by 1 h 29 min" in wrong["clock"]


# Recovery directory


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda store: (store / "part-2.sqlite3").unlink(), "3 of 4 files part-*.sqlite3 are in "),
        (lambda store: (store / "part-2.sqlite3").write_bytes(b"x" * 9999), "part-2.sqlite3 cannot be read: "),
        (lambda store: (store / "pipeline.json").write_text("{"), "pipeline.json cannot be read: "),
        (
            lambda store: (store / "pipeline.json").write_text('{"version": 99}'),
            "pipeline.json of version 99, this release",
        ),
    ],
)
def test_a_damaged_store(embedded: Pipeline, trips_file: Path, damage: Callable[[Path], object], said: str) -> None:
    embedded.produce(trips_file)
    embedded.assemble(DATABASE_URL=None)
    damage(embedded.folder / "recovery")

    wrong = diagnose(embedded, DATABASE_URL=None).wrong

    assert [*wrong] == ["recovery"]
    assert said in wrong["recovery"]


def test_a_store_of_another_pipeline(healthy: Pipeline) -> None:
    wrong = diagnose(healthy, "--key-groups", 8).wrong

    assert "was made with key_groups=1, not 8" in wrong["recovery"]


def test_a_store_in_use_that_is_not_written(embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("create-topic")
    changes: dict[str, Any] = {"DATABASE_URL": None}
    with embedded.start("assemble", **changes) as assembling:
        embedded.produce(trips_file)
        assembling.wait_for(lambda: diagnose(embedded, **changes).said("recovery").startswith("ok: in use, epoch "))
        os.kill(assembling.process.pid, signal.SIGSTOP)
        an_hour_ago = time.time() - 3600
        for file in (embedded.folder / "recovery").glob("part-*"):
            os.utime(file, (an_hour_ago, an_hour_ago))
        stopped = diagnose(embedded, **changes)
        os.kill(assembling.process.pid, signal.SIGCONT)
        assert assembling.stop().code == 0

    assert "nothing written for 1 h" in stopped.wrong["recovery"]
    assert diagnose(embedded, **changes).said("recovery").startswith("ok: not in use")
