"""`from stream import …`: production and assembly in a Python program."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from chillflow.errors import KafkaUnavailableError, UnknownTopicError
from chillflow.production.parquet import ParquetTrips
from chillflow.production.rejected import RejectedRow
from chillflow.settings import load
from stream import CompleteTrip, SendStats, TripAssembler, TripEventProducer, TripStartedEvent
from tests.pipelines.command import elapsed
from tests.pipelines.pipeline import Pipeline
from tests.trip_rows import rows_of, trip_of


@pytest.fixture(scope="module")
def trips(trips_file: Path) -> list[CompleteTrip]:
    rows = rows_of(ParquetTrips(trips_file, "America/New_York"))
    return [trip_of(row) for row in rows if not isinstance(row, RejectedRow)]


@pytest.fixture
def at(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The pipeline, with its settings in the environment of this process."""
    for name, value in pipeline.environment.items():
        monkeypatch.setenv(name, value)
    return pipeline


def test_events_are_sent_and_counted(at: Pipeline, trips: list[CompleteTrip]) -> None:
    producer = TripEventProducer()
    events = [event for trip in trips for event in producer.process_trip(trip)]

    stats = producer.send_events(events)

    assert stats == SendStats(sent=1500, delivered=1500, failed=0, error=None)
    sent = at.events()
    assert {message.json["event_id"] for message in sent} == {event.event_id for event in events}
    by_id = {event.event_id: event for event in events}
    for message in sent:
        event = by_id[message.json["event_id"]]
        assert message.key == event.trip_key.encode()
        assert message.timestamp == int(event.event_time.timestamp() * 1000)
        assert type(event).model_validate_json(message.value or b"") == event


def test_the_command_sends_the_same_bytes(at: Pipeline, trips: list[CompleteTrip], trips_file: Path) -> None:
    producer = TripEventProducer()
    other = f"{at.topic}-api"
    producer.send_events((event for trip in trips for event in producer.process_trip(trip)), topic=other)

    at.produce(trips_file)

    def read(topic: str) -> list[tuple[int, bytes | None, bytes | None]]:
        found = [(message.partition, message.key, message.value) for message in at.topics.read(topic)]
        return sorted(found, key=lambda message: message[2] or b"")

    assert read(at.topic) == read(other)


def test_sent_events_are_assembled(at: Pipeline, trips: list[CompleteTrip]) -> None:
    producer = TripEventProducer()
    producer.send_events(event for trip in trips for event in producer.process_trip(trip))
    producer.send_events(producer.process_trip(trips[0]))

    account = at.assemble(DATABASE_URL=None)

    assert account["complete_trips"] == 300
    assert account["duplicates"] == 5
    found = {trip["trip_key"]: trip for trip in at.trips()}
    for trip in trips:
        assert (
            CompleteTrip(**found[trip.trip_key]).model_copy(
                update=dict.fromkeys(("distance_km", "duration_min", "avg_speed_kmh")) | {"revision": 0}
            )
            == trip
        )


def test_sending_nothing_is_no_error(at: Pipeline) -> None:
    assert TripEventProducer().send_events([]) == SendStats(0, 0, 0)


@pytest.mark.kafka
def test_messages_refused_by_the_broker_are_counted(on_kafka: Pipeline, trips: list[CompleteTrip]) -> None:
    from confluent_kafka.cimpl import NewTopic

    topic = f"{on_kafka.topic}-small"
    admin = on_kafka.topics.kafka._admin  # type: ignore[attr-defined]
    admin.create_topics([NewTopic(topic, 1, 1, config={"max.message.bytes": "200"})])[topic].result(timeout=30)
    producer = TripEventProducer(load(kafka_bootstrap_servers=on_kafka.address))

    stats = producer.send_events(producer.process_trip(trips[0]), topic=topic)

    assert (stats.sent, stats.delivered + stats.failed) == (5, 5)
    assert stats.failed > 0
    assert stats.error is not None
    assert topic in stats.error


def test_no_broker_is_an_error_after_the_timeout(trips: list[CompleteTrip]) -> None:
    producer = TripEventProducer(load(kafka_bootstrap_servers="127.0.0.1:1", kafka_timeout="1s"))

    def send() -> None:
        with pytest.raises(KafkaUnavailableError, match=r"127\.0\.0\.1:1 \(waited 1 s\)"):
            producer.send_events(producer.process_trip(trips[0]))

    assert elapsed(send) < 8


def test_a_missing_topic_that_may_not_be_created(at: Pipeline, trips: list[CompleteTrip]) -> None:
    producer = TripEventProducer(load(create_topics=False))

    with pytest.raises(UnknownTopicError, match=f"no topic '{at.topic}'"):
        producer.send_events(producer.process_trip(trips[0]))


def test_trips_are_assembled_without_a_server(trips: list[CompleteTrip]) -> None:
    events = [event for trip in trips for event in TripEventProducer().process_trip(trip)]
    assert isinstance(events[0], TripStartedEvent)
    random.Random(1).shuffle(events)
    assembler = TripAssembler()

    found = {trip.trip_key: trip for trip in assembler.assemble([*events, *events[:100]])}

    assert found.keys() == {trip.trip_key for trip in trips}
    for trip in trips:
        made = found[trip.trip_key]
        assert made.revision == 1
        assert made.model_dump(exclude={"distance_km", "duration_min", "avg_speed_kmh", "revision"}) == trip.model_dump(
            exclude={"distance_km", "duration_min", "avg_speed_kmh", "revision"}
        )
    assert assembler.account["duplicates"] == 100
    assert assembler.close() == []
