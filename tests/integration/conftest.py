"""Pipelines of a test's own: on files, and on a real Kafka and a real Postgres."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from chillflow.synthetic.trip_generator import generate
from tests.integration.cli import BrokerTopics, FileTopics, Pipeline
from tests.servers.kafka_topics import KafkaTopics

SERVERS = pytest.param("servers", marks=[pytest.mark.kafka, pytest.mark.postgres])


@pytest.fixture
def embedded(tmp_path: Path) -> Pipeline:
    """A pipeline that needs no server."""
    return Pipeline(
        tmp_path,
        f"file:{tmp_path / 'topics'}",
        f"sqlite:///{tmp_path / 'trips.sqlite'}",
        FileTopics(tmp_path / "topics"),
    )


@pytest.fixture
def on_servers(kafka: KafkaTopics, database_url: str, tmp_path: Path) -> Pipeline:
    """A pipeline on Kafka and Postgres. Its topics are not there yet."""
    mark = uuid.uuid4().hex[:12]
    return Pipeline(
        tmp_path,
        kafka.bootstrap_servers,
        database_url,
        BrokerTopics(kafka),
        topic=f"trip-events-{mark}",
        complete=f"complete-trips-{mark}",
        incomplete=f"incomplete-trips-{mark}",
        windows=f"zone-windows-{mark}",
    )


@pytest.fixture
def on_kafka(kafka: KafkaTopics, tmp_path: Path) -> Pipeline:
    """A pipeline on Kafka without a database."""
    mark = uuid.uuid4().hex[:12]
    pipeline = Pipeline(
        tmp_path,
        kafka.bootstrap_servers,
        "",
        BrokerTopics(kafka),
        topic=f"trip-events-{mark}",
        complete=f"complete-trips-{mark}",
        incomplete=f"incomplete-trips-{mark}",
        windows=f"zone-windows-{mark}",
    )
    del pipeline.environment["DATABASE_URL"]
    return pipeline


@pytest.fixture(params=["embedded", SERVERS])
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    """The same test on files and on servers."""
    chosen: Pipeline = request.getfixturevalue("embedded" if request.param == "embedded" else "on_servers")
    return chosen


@pytest.fixture(scope="session")
def trips_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 generated trips of one day."""
    path = tmp_path_factory.mktemp("generated") / "trips.parquet"
    generate(path, 300)
    return path


@pytest.fixture
def workers(pipeline: Pipeline) -> int:
    """One process on files and two on servers: both numbers, without each combination."""
    return 1 if pipeline.embedded else 2
