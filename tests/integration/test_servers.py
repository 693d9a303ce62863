"""The servers of the tests are real and isolated from each other, and survive a crash."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer

from tests.servers._process import wait_until
from tests.servers.kafka import KafkaServer
from tests.servers.kafka_topics import KafkaTopics
from tests.servers.postgres import PostgresServer
from tests.servers.server import Server, ServerError


def produce(bootstrap_servers: str, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all"})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


def values(kafka: KafkaTopics, topic: str) -> set[bytes | None]:
    read = [message.value() for message in kafka.read_all(topic)]
    assert len(read) == len(set(read))
    return set(read)


def test_messages_are_read_back_by_partition_and_offset(kafka: KafkaTopics) -> None:
    topic = kafka.topic(partitions=2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for partition, value in enumerate([b"on 0", b"on 1"]):
        producer.produce(topic, value, key=b"k", partition=partition, timestamp=1_420_070_400_000)
    assert producer.flush(30) == 0

    read = kafka.read_all(topic)

    assert [(m.partition(), m.offset(), m.key(), m.value()) for m in read] == [
        (0, 0, b"k", b"on 0"),
        (1, 0, b"k", b"on 1"),
    ]


def test_an_empty_topic_is_read_to_its_end(kafka: KafkaTopics) -> None:
    assert kafka.read_all(kafka.topic()) == []


def test_topics_of_one_prefix_have_different_names(kafka: KafkaTopics) -> None:
    assert kafka.topic("trips") != kafka.topic("trips")


def test_only_committed_transactions_are_read(kafka: KafkaTopics) -> None:
    topic = kafka.topic(partitions=1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic})
    producer.init_transactions(30)

    producer.begin_transaction()
    producer.produce(topic, b"committed")
    producer.commit_transaction(30)

    producer.begin_transaction()
    producer.produce(topic, b"aborted")
    producer.flush(30)
    assert values(kafka, topic) == {b"committed"}, "an open transaction is not read"
    producer.abort_transaction(30)
    assert values(kafka, topic) == {b"committed"}, "nor an aborted one"


def test_postgres_runs_sql(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT 6 * 7").fetchone() == (42,)
        assert connection.info.server_version >= 140000


@pytest.mark.parametrize("test", ["the first", "the second"])
def test_each_test_has_an_empty_database(database_url: str, test: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE only_here (x int)")


def test_two_databases_are_separate(own_postgres: PostgresServer) -> None:
    ours, theirs = own_postgres.create_database("ours"), own_postgres.create_database("theirs")
    with psycopg.connect(ours) as connection:
        connection.execute("CREATE TABLE only_here (x int)")
    with psycopg.connect(theirs) as connection:
        assert connection.execute("SELECT to_regclass('only_here')").fetchone() == (None,)


def test_kafka_keeps_its_data_and_its_port_after_a_crash(own_kafka: KafkaServer) -> None:
    kafka = KafkaTopics(own_kafka.bootstrap_servers)
    topic = kafka.topic()
    produce(kafka.bootstrap_servers, topic, b"before", b"also before")

    own_kafka.kill()
    assert not own_kafka.running
    own_kafka.start()

    assert own_kafka.bootstrap_servers == kafka.bootstrap_servers
    produce(kafka.bootstrap_servers, topic, b"after")
    assert values(kafka, topic) == {b"before", b"also before", b"after"}


@pytest.mark.parametrize("how", [PostgresServer.kill, PostgresServer.stop])
def test_postgres_keeps_committed_data(own_postgres: PostgresServer, how: object) -> None:
    with psycopg.connect(own_postgres.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
        connection.commit()
        if how is PostgresServer.kill:
            own_postgres.kill()
        else:
            own_postgres.stop()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")

    own_postgres.start()

    with psycopg.connect(own_postgres.url) as connection:
        assert connection.execute("SELECT x FROM kept").fetchone() == (1,)


SESSION = """
import sys, time
from pathlib import Path
from tests.servers.{module} import {kind}
server = {kind}(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(params=[KafkaServer, PostgresServer])
def orphan(request: pytest.FixtureRequest, servers_folder: Path) -> Iterator[Server]:
    """A server whose parent was killed and could not stop it."""
    kind: type[Server] = request.param
    folder = servers_folder / f"orphan-{kind.name}"
    script = SESSION.format(module=kind.__module__.rpartition(".")[2], kind=kind.__name__)
    parent = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE)
    server = kind(folder)
    try:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) == server.pid
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        yield server
    finally:
        parent.kill()
        server.kill()
        server.discard()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_server_dies_when_its_parent_is_killed(orphan: Server) -> None:
    assert wait_until(lambda: not orphan.running, timeout=20)


@pytest.mark.parametrize("kind", [KafkaServer, PostgresServer])
def test_a_port_in_use_is_an_error(kind: type[Server], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} is taken"):
            kind(tmp_path, port=port).start()


def test_the_error_of_a_failed_start_contains_the_log(own_postgres: PostgresServer) -> None:
    own_postgres.stop()
    own_postgres.log.write_text("")
    (own_postgres.folder / "home" / "data" / "postgresql.conf").write_text("no_such_setting = 1")

    with pytest.raises(ServerError, match=r"(?s)ended with status 1.*no_such_setting"):
        own_postgres.start()

    assert not own_postgres.running


def test_missing_kafka_jars_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHILLFLOW_TEST_KAFKA_LIBS", str(tmp_path))
    with pytest.raises(ServerError, match="CHILLFLOW_TEST_KAFKA_LIBS: no Kafka jars in"):
        KafkaServer(tmp_path).start()
