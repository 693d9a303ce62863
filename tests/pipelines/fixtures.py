"""Fixtures: pipelines on files, on Kafka, and on Kafka and Postgres."""

from __future__ import annotations

from pathlib import Path

import pytest

from chillflow.synthetic.trip_generator import generate
from tests.pipelines.pipeline import Pipeline, unique_topics
from tests.pipelines.topics import BrokerTopics, FileTopics
from tests.servers.kafka_topics import KafkaTopics

SERVERS = pytest.param("on_servers", marks=[pytest.mark.kafka, pytest.mark.postgres], id="servers")


def on_files(folder: Path) -> Pipeline:
    """A pipeline on files below this folder."""
    topics = folder / "topics"
    return Pipeline(folder, f"file:{topics}", f"sqlite:///{folder / 'trips.sqlite'}", FileTopics(topics))


@pytest.fixture
def embedded(tmp_path: Path) -> Pipeline:
    """A pipeline that needs no server."""
    return on_files(tmp_path)


@pytest.fixture
def on_servers(kafka: KafkaTopics, database_url: str, tmp_path: Path) -> Pipeline:
    """A pipeline on Kafka and Postgres. Its topics do not exist yet."""
    return Pipeline(tmp_path, kafka.bootstrap_servers, database_url, BrokerTopics(kafka), **unique_topics())


@pytest.fixture
def on_kafka(kafka: KafkaTopics, tmp_path: Path) -> Pipeline:
    """A pipeline on Kafka without a database."""
    return Pipeline(tmp_path, kafka.bootstrap_servers, "", BrokerTopics(kafka), **unique_topics())


@pytest.fixture(params=["embedded", SERVERS])
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    """A pipeline on files, then one on servers."""
    chosen: Pipeline = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture(scope="session")
def trips_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 300 generated trips of one day."""
    path = tmp_path_factory.mktemp("generated") / "trips.parquet"
    generate(path, 300)
    return path


@pytest.fixture
def workers(pipeline: Pipeline) -> int:
    """One worker on files, two on servers: both numbers are tested without all combinations."""
    return 1 if pipeline.embedded else 2
