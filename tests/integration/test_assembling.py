"""assemble: what cannot be a trip, what is still open, and how it starts, stops and goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from confluent_kafka import Consumer, TopicPartition

from stream import CompleteTrip, TripEventProducer
from tests.pipelines.pipeline import Pipeline

TRIP = CompleteTrip(
    trip_key="t",
    pickup_ts="2024-01-01T10:00:00Z",
    dropoff_ts="2024-01-01T10:30:00Z",
    pu_zone_id=1,
    do_zone_id=2,
)


def values(**changes: object) -> list[dict[str, object]]:
    """The five events of a trip as they are on the wire."""
    trip = TRIP.model_copy(update=changes)
    return [event.model_dump(mode="json") for event in TripEventProducer().process_trip(trip)]


def send(pipeline: Pipeline, *events: dict[str, object]) -> None:
    for event in events:
        pipeline.topics.send(
            pipeline.topic, str(event["trip_key"]).encode(), json.dumps(event).encode(), timestamp=1_704_103_200_000
        )


# Dead letters


def test_what_is_no_event_is_a_dead_letter_and_stops_nothing(pipeline: Pipeline, trips_file: Path) -> None:
    good = json.dumps(values()[0]).encode()
    bad: dict[str, tuple[bytes | None, bytes | None]] = {
        "invalid": (b"t", b"\x00\xff garbage"),
        "null value": (b"t", None),
        "no message key": (None, good),
        "the message key 'other' is not the trip_key of the event": (b"other", good),
        "found using 'event_type'": (b"t", good.replace(b"trip_started", b"trip_imagined")),
        "schema_version": (b"t", good.replace(b'"schema_version": 1', b'"schema_version": 2')),
        "pu_zone_id": (b"t", good.replace(b'"pu_zone_id": 1', b'"pu_zone_id": "one"')),
    }
    pipeline.run("init-db")
    pipeline.run("create-topic")
    for key, value in bad.values():
        pipeline.topics.send(pipeline.topic, key, value, partition=1, headers={"trace": b"x1", "stage": b"theirs"})
    places = {(event.key, event.value): event.offset for event in pipeline.events()}
    pipeline.produce(trips_file)

    account = pipeline.assemble()

    assert account["complete_trips"] == len(pipeline.trips()) == pipeline.rows() == 300
    assert account["dead_letters"] == len(bad)
    assert account["events"] == 1500 + len(bad)
    letters = pipeline.dead_letters()
    assert len(letters) == len(bad)
    for reason, (key, value) in bad.items():
        (letter,) = (each for each in letters if (each.key, each.value) == (key, value))
        assert reason in letter.headers["reason"]
        assert "\n" not in letter.headers["reason"]
        assert letter.headers["stage"] == "decode"
        assert letter.headers["trace"] == "x1"
        assert letter.headers["topic"] == pipeline.topic
        assert letter.headers["partition"] == "1"
        assert letter.headers["offset"] == str(places[key, value])


def test_what_the_table_cannot_hold_is_in_the_topic_and_a_dead_letter(
    pipeline: Pipeline, trips_file: Path, tmp_path: Path
) -> None:
    trips = pl.read_parquet(trips_file).head(10).with_row_index()
    trips = trips.with_columns(
        store_and_fwd_flag=pl.when(pl.col("index") == 3).then(pl.lit("N\0")).otherwise("store_and_fwd_flag"),
        fare_amount=pl.when(pl.col("index") == 6).then(1e9).otherwise("fare_amount"),
    ).drop("index")
    trips.write_parquet(tmp_path / "odd.parquet")
    pipeline.run("init-db")
    pipeline.produce(tmp_path / "odd.parquet")

    account = pipeline.assemble()

    assert account["complete_trips"] == len(pipeline.trips()) == 10
    assert pipeline.rows() == 8
    letters = sorted(pipeline.dead_letters(), key=lambda letter: letter.headers["reason"])
    assert [letter.headers["reason"] for letter in letters] == [
        "a text holds a NUL character",
        "fare_amount 1000000000.0 does not fit numeric(10, 2)",
    ]
    stored = {key for (key,) in pipeline.query("select trip_key from stg.complete_trip")}
    by_key = {trip["trip_key"]: trip for trip in pipeline.trips()}
    for letter in letters:
        assert letter.headers["stage"] == "write"
        assert letter.headers["revision"] == "1"
        assert letter.key == letter.headers["trip_key"].encode()
        assert letter.json == by_key[letter.headers["trip_key"]]
        assert letter.headers["trip_key"] not in stored


# Open trips


def test_open_trips_wait_for_the_next_run(embedded: Pipeline) -> None:
    started, exited, entered, payment, ended = values()
    embedded.run("init-db")
    embedded.run("create-topic")
    send(embedded, started, entered, payment)

    first = embedded.assemble()
    send(embedded, ended, exited)
    second = embedded.assemble()

    assert (first["open_trips"], first["events_in_open"], first["complete_trips"]) == (1, 3, 0)
    assert (second["open_trips"], second["complete_trips"], second["events_in_complete"]) == (0, 1, 5)
    assert [trip["trip_key"] for trip in embedded.trips()] == ["t"]
    assert embedded.rows() == 1
    assert embedded.topics.read(embedded.incomplete) == []


def test_open_trips_can_be_closed_and_still_completed(pipeline: Pipeline) -> None:
    started, _, entered, payment, ended = values(passenger_count=3, total_amount=12.5)
    pipeline.run("init-db")
    pipeline.run("create-topic")
    send(pipeline, started, payment)

    closed = pipeline.assemble("--close-all")

    assert (closed["open_trips"], closed["incomplete_trips"], closed["events_in_incomplete"]) == (0, 1, 2)
    (message,) = pipeline.topics.read(pipeline.incomplete)
    assert message.key == b"t"
    assert message.json["missing"] == ["zone_exited", "zone_entered", "trip_ended"]
    assert message.json["passenger_count"] == 3
    assert message.json["total_amount"] == 12.5
    assert message.json["revision"] == 1
    assert pipeline.rows() == 0
    ((key, revision, completed),) = pipeline.query("select trip_key, revision, completed from stg.incomplete_trip")
    assert (key, revision, bool(completed)) == ("t", 1, False)

    send(pipeline, ended, entered)
    completed = pipeline.assemble("--close-all")

    assert (completed["incomplete_trips"], completed["complete_trips"], completed["events_in_complete"]) == (0, 1, 4)
    (trip,) = pipeline.trips()
    assert (trip["trip_key"], trip["revision"]) == ("t", 2)
    assert len(pipeline.topics.read(pipeline.incomplete)) == 1
    ((completed,),) = pipeline.query("select completed from stg.incomplete_trip")
    assert completed
    assert pipeline.rows() == 1


def test_a_correction_writes_over_the_trip(embedded: Pipeline) -> None:
    embedded.run("init-db")
    embedded.run("create-topic")
    send(embedded, *values(total_amount=10.0))
    embedded.assemble()
    payment = {**values(total_amount=11.0)[3], "event_version": 1}

    send(embedded, payment)
    account = embedded.assemble()

    assert account["superseded"] == account["complete_trips"] == 1
    assert [(trip["revision"], trip["total_amount"]) for trip in embedded.trips()] == [(1, 10.0), (2, 11.0)]
    ((revision, amount),) = embedded.query("select revision, total_amount from stg.complete_trip")
    assert (revision, float(amount)) == (2, 11.0)


def test_closing_needs_an_end(embedded: Pipeline) -> None:
    done = embedded.run("assemble", "--close-all", code=2)

    assert "--close-all" in done.stderr
    assert "Traceback" not in done.stderr


# Starting, stopping, going on


def test_it_stops_in_good_order_and_goes_on(pipeline: Pipeline, trips_file: Path, workers: int) -> None:
    pipeline.run("init-db")
    pipeline.produce(trips_file, "--limit", 200)
    with pipeline.start("assemble", "--json", "--workers", workers) as assembling:
        assembling.wait_for(lambda: len(pipeline.trips()) == 200)
        done = assembling.stop(within=10)

    assert done.code == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.account["complete_trips"] == 200

    pipeline.produce(trips_file)
    account = pipeline.assemble("--workers", workers)
    assert account["events"] == 2500
    assert account["duplicates"] == 1000
    assert account["complete_trips"] == len(pipeline.trips()) == pipeline.rows() == 300


def test_it_stops_with_more_workers_than_partitions(embedded: Pipeline, trips_file: Path) -> None:
    embedded.produce(trips_file)
    with embedded.start("assemble", "--workers", 6, DATABASE_URL=None) as assembling:
        assembling.wait_for(lambda: len(embedded.trips()) == 300)
        assert assembling.stop().code == 0


def test_results_have_as_many_partitions_as_the_events(embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("create-topic", "--partitions", 6)
    embedded.produce(trips_file)
    assert embedded.assemble(DATABASE_URL=None)["complete_trips"] == 300

    def partitions(topic: str) -> int:
        return len(list((embedded.folder / "topics" / topic).glob("*.jsonl")))

    assert partitions(embedded.complete) == partitions(embedded.incomplete) == 6
    assert partitions(embedded.dlq) == 7  # one for the producer alone


def test_it_ends_with_more_workers_than_partitions(embedded: Pipeline, trips_file: Path) -> None:
    embedded.produce(trips_file, "--partitions", 1)

    account = embedded.assemble("--workers", 2, DATABASE_URL=None)

    assert account["complete_trips"] == len(embedded.trips()) == 300


def test_a_recovery_store_has_one_owner(embedded: Pipeline, trips_file: Path) -> None:
    embedded.produce(trips_file)
    with embedded.start("assemble", DATABASE_URL=None) as assembling:
        assembling.wait_for(lambda: len(embedded.trips()) == 300)
        line = embedded.fail("assemble", "--exit-at-end", DATABASE_URL=None)
        assert assembling.stop().code == 0

    assert line.startswith(f"another `assemble` runs on {embedded.folder / 'recovery'}")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CHILLFLOW_TOPIC", "another", "was made with topic=trip-events, not another"),
        ("CHILLFLOW_KEY_GROUPS", "8", "was made with key_groups=1, not 8"),
    ],
)
def test_a_recovery_store_serves_one_pipeline(
    embedded: Pipeline, trips_file: Path, variable: str, value: str, said: str
) -> None:
    embedded.produce(trips_file)
    embedded.assemble(DATABASE_URL=None)

    changed: dict[str, Any] = {"DATABASE_URL": None, variable: value}
    line = embedded.fail("assemble", "--exit-at-end", **changed)

    assert said in line


@pytest.mark.parametrize("part", ["chillflow.connectors.source", "chillflow.connectors.sink", "chillflow.keyed.group"])
def test_a_recovery_store_of_a_newer_release_is_refused(embedded: Pipeline, trips_file: Path, part: str) -> None:
    newer = f"import {part} as part; part.VERSION += 1; from chillflow.cli import main; main()"
    embedded.produce(trips_file)
    embedded.python(sys.executable, "-c", newer, "assemble", "--exit-at-end", DATABASE_URL=None)

    # in a process of its own: where a cluster of threads has run before, Bytewax shows the traceback, too
    line = embedded.process("assemble", "--exit-at-end", code=1, DATABASE_URL=None).reason

    assert line.startswith("the recovery store")
    assert "this release knows" in line


def test_without_a_database_trips_go_to_their_topic_and_lag_tools_see_it(on_kafka: Pipeline, trips_file: Path) -> None:
    on_kafka.produce(trips_file)

    account = on_kafka.assemble()

    assert account["complete_trips"] == len(on_kafka.trips()) == 300

    consumer = Consumer({"bootstrap.servers": on_kafka.address, "group.id": "trip-assembler"})
    places = consumer.committed([TopicPartition(on_kafka.topic, number) for number in range(4)], timeout=10)
    ends = [consumer.get_watermark_offsets(place, timeout=10)[1] for place in places]
    consumer.close()

    assert [place.offset for place in places] == ends
    assert sum(ends) == 1500
