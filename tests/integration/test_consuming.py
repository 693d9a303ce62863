"""`consume-events` shows a topic as JSON lines in a pipe, and as text."""

from __future__ import annotations

import base64
import json
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.pipelines.command import Done
from tests.pipelines.pipeline import Pipeline


def shown(done: Done) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.lines]


@pytest.fixture
def filled(pipeline: Pipeline, trips_file: Path) -> Pipeline:
    """1,500 events of 300 trips in four partitions."""
    pipeline.produce(trips_file)
    return pipeline


def test_a_pipe_gets_all_events_as_json_lines(filled: Pipeline) -> None:
    done = filled.run("consume-events", "--exit-at-end")

    assert sorted(done.lines) == sorted((event.value or b"").decode() for event in filled.events())
    times = [str(event["event_time"]) for event in shown(done)]
    assert times == sorted(times), "the partitions are merged by time"
    assert done.stderr == ""


def test_messages_can_be_filtered(embedded: Pipeline, trips_file: Path) -> None:
    embedded.produce(trips_file)
    assert len(shown(embedded.run("consume-events", "-n", 3))) == 3
    key = embedded.events()[0].json["trip_key"]

    trip = shown(embedded.run("consume-events", "--exit-at-end", "--trip-key", key))
    payments = shown(embedded.run("consume-events", "--exit-at-end", "--event-type", "payment_processed"))

    assert {event["trip_key"] for event in trip} == {key}
    assert len(trip) == 5
    assert {event["event_type"] for event in payments} == {"payment_processed"}
    assert len(payments) == 300

    (first,) = embedded.run("consume-events", "--format", "text", "-n", 1).lines
    assert "2024-01-01T0" in first
    assert "trip_started" in first
    assert "pu_zone_id=" in first


def test_events_from_a_time_onward(filled: Pipeline) -> None:
    noon = datetime(2024, 1, 1, 17, tzinfo=UTC)  # in New York
    expected = [event for event in filled.events() if (event.timestamp or 0) >= noon.timestamp() * 1000]

    local = filled.run("consume-events", "--exit-at-end", "--from", "2024-01-01T12:00")
    aware = filled.run("consume-events", "--exit-at-end", "--from", "2024-01-01T17:00Z")

    assert sorted(local.lines) == sorted((event.value or b"").decode() for event in expected)
    assert local == aware
    assert filled.run("consume-events", "--exit-at-end", "--from", "2030-01-01").stdout == ""


def test_from_the_end_it_shows_new_messages(filled: Pipeline, trips_file: Path) -> None:
    with filled.start("consume-events", "--from", "end") as following:
        following.wait_for(lambda: "waiting for more" in following.stderr.read_text())
        assert following.stdout.read_text() == ""
        filled.produce(trips_file, "--limit", 4)
        following.wait_for(lambda: following.stdout.read_text().count("\n") == 20)
        done = following.stop(signal.SIGINT, within=10)

    assert done.code == 0
    assert done.stderr == "at the end, waiting for more (Ctrl-C stops)\n"
    assert len({str(event["trip_key"]) for event in shown(done)}) == 4


def test_it_waits_on_an_empty_topic(pipeline: Pipeline) -> None:
    pipeline.run("create-topic")

    assert pipeline.run("consume-events", "--exit-at-end").stdout == ""
    with pipeline.start("consume-events", "-n", 1) as following:
        following.wait_for(lambda: "waiting for more" in following.stderr.read_text())
        pipeline.topics.send(pipeline.topic, b"k", b'{"event_type":"trip_ended"}')
        done = following.result(within=10)

    assert shown(done) == [{"event_type": "trip_ended"}]
    assert done.code == 0


def test_other_topics_are_shown_too(filled: Pipeline) -> None:
    filled.topics.send(filled.topic, b"key", b"no json \xff", headers={"from": b"elsewhere"})
    filled.run("assemble", "--exit-at-end", DATABASE_URL=None)

    trips = shown(filled.run("consume-events", "--topic", filled.complete, "--exit-at-end"))
    (letter,) = shown(filled.run("consume-events", "--topic", filled.dlq, "--exit-at-end"))

    assert len({str(trip["trip_key"]) for trip in trips}) == len(trips) == 300
    headers = letter["headers"]
    assert isinstance(headers, dict)
    assert headers["stage"] == "decode"
    assert headers["from"] == "elsewhere"
    assert headers["topic"] == filled.topic
    assert letter["key"] == "key"
    assert base64.b64decode(str(letter["value_base64"])) == b"no json \xff"


def test_a_value_that_is_not_json_is_shown_with_its_offset(pipeline: Pipeline) -> None:
    pipeline.run("create-topic")
    for value in (b"garbage", None, b"[1]", b'{"a":1}', b"\xff\xfe"):
        pipeline.topics.send(pipeline.topic, b"k", value, partition=2, timestamp=1_700_000_000_000)

    done = pipeline.run("consume-events", "--exit-at-end")
    text = pipeline.run("consume-events", "--exit-at-end", "--format", "text")

    garbage, null, array, good, binary = shown(done)
    assert good == {"a": 1}
    assert garbage["partition"] == null["partition"] == binary["partition"] == 2
    offsets = [message["offset"] for message in (garbage, null, array, binary)]
    assert offsets == sorted(offsets, key=int)  # type: ignore[arg-type]
    assert garbage["error"] == array["error"] == binary["error"] == "not a JSON object"
    assert null["error"] == "null value"
    assert done.stderr == text.stderr == ""
    assert len(text.lines) == 5
    assert "not a JSON object: b'garbage'" in text.lines[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--event-type", "trip_began"], "--event-type trip_began: expected one of trip_started, zone_exited"),
        (["--format", "xml"], "--format xml: expected text or json"),
        (["--from", "yesterday"], "--from 'yesterday': expected a time like"),
    ],
)
def test_an_invalid_option_is_explained(embedded: Pipeline, arguments: list[str], said: str) -> None:
    assert embedded.fail("consume-events", *arguments, code=2).startswith(said)


def test_viewing_commits_no_offsets(on_kafka: Pipeline, trips_file: Path) -> None:
    def committed() -> list[int]:
        consumer = Consumer({"bootstrap.servers": on_kafka.address, "group.id": "trip-assembler"})
        places = consumer.committed([TopicPartition(on_kafka.topic, number) for number in range(4)], timeout=10)
        consumer.close()
        return [place.offset for place in places]

    on_kafka.produce(trips_file)
    on_kafka.assemble()
    before = committed()
    assert sum(before) == 1500

    on_kafka.produce(trips_file)
    on_kafka.run("consume-events", "--exit-at-end")

    assert committed() == before
