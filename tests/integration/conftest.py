"""Fixtures of the tests of security: a pipeline on secured servers, and the trips it reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from chillflow.synthetic.trip_generator import generate
from tests.integration.secured import World, secured_world
from tests.missing import missing
from tests.servers._process import locked
from tests.servers.fixtures import RunningPostgres
from tests.servers.kafka_secured import SecuredKafkaServer
from tests.servers.postgres import PostgresServer


@pytest.fixture
def world(
    secured_kafka: SecuredKafkaServer,
    postgres_server: PostgresServer | RunningPostgres,
    database_url: str,
    tmp_path: Path,
) -> Iterator[World]:
    """A pipeline with exactly the permissions of docs/security.md.

    Tests use the broker one at a time, because each resets all permissions.
    """
    if isinstance(postgres_server, RunningPostgres):
        missing("a Postgres that asks for passwords", "unset CHILLFLOW_TEST_POSTGRES")
    with locked(secured_kafka.folder / "lock"), secured_world(secured_kafka, database_url, tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def days_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trips of twelve days, longer than any state is kept, and one row that is not a trip."""
    path = tmp_path_factory.mktemp("generated") / "days.parquet"
    generate(path, 600, days=12)
    trips = pl.read_parquet(path)
    nowhere = pl.when(pl.int_range(pl.len()) == 0).then(None).otherwise(pl.col("DOLocationID"))
    trips.with_columns(nowhere.alias("DOLocationID")).write_parquet(path)
    return path
