"""Topics written by other programs, and damaged ones."""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from chillflow.synthetic.trip_generator import generate
from tests.pipelines.pipeline import Pipeline
from tests.pipelines.topics import Read
from tests.servers.kafka_topics import KafkaTopics

MUTANTS = 10_000


def mutate(value: bytes, chance: random.Random) -> bytes:  # noqa: C901, PLR0911 - one case per kind of damage
    """The value, damaged or at least changed."""
    event: dict[str, object] = json.loads(value)
    field = chance.choice(list(event))
    match chance.randrange(10):
        case 0:  # flipped bits
            flipped = bytearray(value)
            for _ in range(chance.randint(1, 8)):
                flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
            return bytes(flipped)
        case 1:  # truncated
            return value[: chance.randrange(len(value))]
        case 2:  # a field of another type
            event[field] = chance.choice([True, [], {}, "text", 1.5, -1, None, [None], {"a": 1}])
        case 3:  # a huge number
            return json.dumps(event | {field: 0}).encode().replace(b": 0", b": " + b"9" * chance.randint(10, 6000), 1)
        case 4:  # deep nesting
            depth = chance.choice([10, 300, 5000, 100_000])
            return b'{"event_type":"trip_ended","extra_columns":' + b'{"a":' * depth
        case 5:  # another encoding
            return value.decode().encode(chance.choice(["utf-16", "utf-32", "cp037"]))
        case 6:  # a missing field
            del event[field]
        case 7:  # a number that is not finite, or not JSON
            return value.replace(b":", chance.choice([b":NaN,", b":1e999,", b":\xff", b"::", b":\\ud800"]), 1)
        case 8:  # a field given twice
            return value[:-1] + b',"' + field.encode() + b'":' + chance.choice([b"1", b'"a"', b"null"]) + b"}"
        case 9:  # an impossible time
            event["event_time"] = chance.choice(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024", ""])
    return json.dumps(event).encode()


def test_ten_thousand_damaged_events_affect_no_good_one(embedded: Pipeline, trips_file: Path) -> None:
    embedded.produce(trips_file)
    good = embedded.events()
    chance = random.Random(7)
    files = {number: (embedded.folder / "topics" / embedded.topic / f"{number:04d}.jsonl") for number in range(4)}
    for number in range(MUTANTS):
        event = chance.choice(good)
        key, value = event.key or b"", event.value or b""
        if number % 2:  # the event of another trip, which it opens if it is still valid
            value, key = value.replace(key, b"mutant-%d" % number), b"mutant-%d" % number
        else:  # a foreign key: even a valid event must not change the trip that it names
            key = b"stranger-%d" % number
        _append(embedded, files[event.partition], key, mutate(value, chance), event)
    sys.set_int_max_str_digits(0)  # for this test's own JSON decoder
    produced = embedded.produce(trips_file, "--limit", 100)  # good events after them
    summary = embedded.assemble(DATABASE_URL=None)
    assert summary["events"] == len(good) + MUTANTS + produced["events"]
    assert summary["dead_letters"] > MUTANTS * 0.8
    assert len(embedded.dead_letters()) == summary["dead_letters"]
    arrived = {trip["trip_key"] for trip in embedded.trips()}
    assert arrived >= {(message.key or b"").decode() for message in good}


def _append(pipeline: Pipeline, path: Path, key: bytes, value: bytes, like: Read) -> None:
    assert path.exists()
    pipeline.topics.send(pipeline.topic, key, value, timestamp=like.timestamp, partition=like.partition)


def test_messages_that_are_not_events_make_nothing_late(embedded: Pipeline, tmp_path: Path) -> None:
    embedded.environment["CHILLFLOW_PARTITIONS"] = "1"
    generate(tmp_path / "all.parquet", 6_000)
    trips = pl.read_parquet(tmp_path / "all.parquet").sort("tpep_pickup_datetime")
    for name, some in (("first", trips[:1_000]), ("rest", trips[1_000:])):
        some.write_parquet(tmp_path / name)
    embedded.produce(tmp_path / "first")
    for _ in range(20):
        embedded.topics.send(embedded.topic, None, b"hello", timestamp=time.time_ns() // 1_000_000)
    embedded.produce(tmp_path / "rest")
    assert [event.partition for event in embedded.events()] == [0] * 30_020

    summary = embedded.assemble("--workers", 2, DATABASE_URL=None, CHILLFLOW_KEY_GROUPS="3")  # batches cross processes

    expected = {"events": 30_020, "complete_trips": 6_000, "late": 0, "dead_letters": 20, "open_trips": 0}
    assert {name: summary[name] for name in expected} == expected
    assert len(embedded.trips()) == 6_000
    assert [letter.value for letter in embedded.dead_letters()] == [b"hello"] * 20


@pytest.mark.kafka
def test_log_append_timestamps_are_warned_about_and_can_be_ignored(
    on_kafka: Pipeline, kafka: KafkaTopics, trips_file: Path
) -> None:
    topic = NewTopic(on_kafka.topic, 4, 1, config={"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"})
    for future in kafka._admin.create_topics([topic]).values():
        future.result()
    on_kafka.produce(trips_file)
    by_log_append = on_kafka.run("assemble", "--exit-at-end", "--json")
    assert by_log_append.stderr.count("CHILLFLOW_EVENT_TIME=body") == 1
    assert by_log_append.account["events"] == 1500
    by_body = on_kafka.run(
        "assemble",
        "--exit-at-end",
        "--json",
        "--event-time",
        "body",
        CHILLFLOW_RECOVERY_DIR=str(on_kafka.folder / "by-body"),
    )
    assert "CHILLFLOW_EVENT_TIME" not in by_body.stderr
    assert by_body.account["complete_trips"] == 300


@pytest.mark.kafka
def test_keys_of_another_partitioner_are_warned_about(on_kafka: Pipeline, trips_file: Path) -> None:
    on_kafka.run("create-topic")
    lines = on_kafka.run("produce-from-file", "--file", trips_file, "--dry-run").lines
    producer = Producer({"bootstrap.servers": on_kafka.address})  # librdkafka's default: CRC32
    for line in lines:
        producer.produce(on_kafka.topic, line.encode(), json.loads(line)["trip_key"].encode())
    assert producer.flush(30) == 0
    done = on_kafka.run("assemble", "--exit-at-end", "--json", CHILLFLOW_EVENT_TIME="body")
    assert done.stderr.count("murmur2") == 1
    assert done.account["complete_trips"] == 300  # all events of a trip are still in one partition
