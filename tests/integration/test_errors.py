"""An error is one line on stderr and an exit code; the traceback is shown only with --debug."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from tests.pipelines.command import elapsed
from tests.pipelines.pipeline import Pipeline
from tests.servers._process import free_port
from tests.servers.postgres import PostgresServer

NO_BROKER = "127.0.0.1:1"
COMMANDS = [
    ["produce-from-file", "--file", "trips.parquet"],
    ["assemble", "--exit-at-end"],
    ["assemble", "--exit-at-end", "--workers", "2"],
    ["consume-events"],
    ["create-topic"],
]


@pytest.fixture
def here(embedded: Pipeline, trips_file: Path) -> Pipeline:
    """A pipeline in a folder with a file of trips."""
    (embedded.folder / "trips.parquet").write_bytes(trips_file.read_bytes())
    return embedded


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_broker(here: Pipeline, command: list[str]) -> None:
    line = here.fail(*command, KAFKA_BOOTSTRAP_SERVERS=NO_BROKER, CHILLFLOW_KAFKA_TIMEOUT="1", DATABASE_URL=None)

    assert line == (f"no Kafka broker answers at {NO_BROKER} (waited 1 s): start one, or set KAFKA_BOOTSTRAP_SERVERS")


def test_no_broker_is_reported_after_ten_seconds(here: Pipeline) -> None:
    seconds = elapsed(lambda: here.fail("consume-events", KAFKA_BOOTSTRAP_SERVERS=NO_BROKER))

    assert 9 < seconds < 20


def test_a_host_that_does_not_exist(here: Pipeline) -> None:
    line = here.fail("consume-events", KAFKA_BOOTSTRAP_SERVERS="no-such-host.invalid:9092", CHILLFLOW_KAFKA_TIMEOUT="1")

    assert "no Kafka broker answers at no-such-host.invalid:9092 (waited 1 s)" in line


@pytest.mark.parametrize(
    "command", [["consume-events"], ["assemble", "--exit-at-end", "--no-create-topics"]], ids=" ".join
)
def test_an_unknown_topic(pipeline: Pipeline, command: list[str]) -> None:
    line = pipeline.fail(*command, "--topic", "nowhere", DATABASE_URL=None)

    assert line.startswith("no topic 'nowhere'")
    assert line.endswith(": run `create-topic --topic nowhere`")


@pytest.mark.parametrize("command", ["produce-from-file", "load-trips"])
def test_files_without_trips(here: Pipeline, command: str) -> None:
    folder = here.folder
    here.run("init-db")
    (folder / "trips.csv").write_text("VendorID,tpep_pickup_datetime\n1,2024-01-01 00:00:00\n")
    trips = pl.read_parquet(folder / "trips.parquet")
    trips.drop("PULocationID", "tpep_dropoff_datetime").write_parquet(folder / "narrow.parquet")
    pl.DataFrame({"dispatching_base_num": ["B1"], "pickup_datetime": ["x"]}).write_parquet(folder / "fhv.parquet")
    (folder / "torn.parquet").write_bytes((folder / "trips.parquet").read_bytes()[:-100])

    def said(file: str) -> str:
        return here.fail(command, "--file", file)

    assert said("absent.parquet") == "absent.parquet: no such file"
    assert said("trips.csv").startswith("trips.csv is not a readable parquet file: ")
    assert said("torn.parquet").startswith("torn.parquet is not a readable parquet file: ")
    assert said(".").startswith(". is not a readable parquet file: ")
    assert re.search("no column tpep_dropoff_datetime, pulocationid$", said("narrow.parquet"))
    assert "fhv and fhvhv trip records are not supported" in said("fhv.parquet")
    assert here.rows() == 0


@pytest.mark.parametrize("command", ["produce-events", "load-trips --file trips.parquet", "assemble --exit-at-end"])
def test_no_tables(pipeline: Pipeline, trips_file: Path, command: str) -> None:
    (pipeline.folder / "trips.parquet").write_bytes(trips_file.read_bytes())
    pipeline.run("create-topic")

    assert pipeline.fail(*command.split()).endswith(": run `chillflow-stream init-db`")


def test_no_database_is_configured(here: Pipeline) -> None:
    line = here.fail("produce-events", code=2, DATABASE_URL=None)

    assert line == "no database: set DATABASE_URL (postgresql://… or sqlite:///FILE)"


@pytest.mark.parametrize("command", ["init-db", "produce-events", "assemble --exit-at-end"])
def test_the_database_is_down(here: Pipeline, command: str) -> None:
    here.run("create-topic")
    url = f"postgresql://me:secret@127.0.0.1:{free_port()}/trips"

    line = here.fail(*command.split(), DATABASE_URL=url)

    assert line.startswith("no Postgres answers: ")
    assert line.endswith("(see DATABASE_URL)")
    assert "secret" not in line


@pytest.mark.postgres
def test_a_database_that_does_not_exist(here: Pipeline, database_url: str) -> None:
    line = here.fail("init-db", DATABASE_URL=database_url + "_not")

    assert "does not exist" in line


@pytest.mark.parametrize("path", ["/proc/nowhere/trips.sqlite", "/dev/null/trips.sqlite"])
def test_a_path_where_no_database_can_be_created(here: Pipeline, path: str) -> None:
    assert here.fail("init-db", DATABASE_URL=f"sqlite:///{path}").startswith(path)


def test_a_file_that_is_not_a_database(here: Pipeline) -> None:
    line = here.fail("init-db", DATABASE_URL=f"sqlite:///{here.folder / 'trips.parquet'}")

    assert line.endswith("file is not a database")


def test_a_path_where_no_topic_can_be_created(here: Pipeline) -> None:
    assert here.fail("create-topic", KAFKA_BOOTSTRAP_SERVERS="file:/dev/null/topics").startswith("cannot create ")


def test_a_path_where_no_recovery_store_can_be_created(here: Pipeline) -> None:
    line = here.fail("assemble", "--exit-at-end", DATABASE_URL=None, CHILLFLOW_RECOVERY_DIR="/dev/null/store")

    assert line.startswith("cannot use the recovery directory /dev/null/store")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CHILLFLOW_PARTITIONS", "none", "invalid setting CHILLFLOW_PARTITIONS='none': "),
        ("CHILLFLOW_PARTITIONS", "0", "invalid setting CHILLFLOW_PARTITIONS='0': "),
        ("CHILLFLOW_TRIP_TIMEOUT", "soon", "invalid setting CHILLFLOW_TRIP_TIMEOUT='soon': "),
        ("LOG_LEVEL", "LOUD", "invalid setting LOG_LEVEL='LOUD': "),
        (
            "CHILLFLOW_SOURCE_TIME_ZONE",
            "America/Gotham",
            "invalid setting CHILLFLOW_SOURCE_TIME_ZONE='America/Gotham': ",
        ),
        ("DATABASE_URL", "mysql://x", "DATABASE_URL: unknown scheme 'mysql'"),
    ],
)
def test_a_wrong_setting(here: Pipeline, variable: str, value: str, said: str) -> None:
    assert here.fail("produce-events", code=2, **{variable: value}).startswith(said)


@pytest.mark.parametrize(
    ("property_", "value"), [("bogus", "1"), ("compression.level", "soon"), ("security.protocol", "carrier-pigeon")]
)
@pytest.mark.parametrize("as_option", [True, False])
def test_a_wrong_kafka_property(here: Pipeline, property_: str, value: str, as_option: bool) -> None:
    variable = "CHILLFLOW_KAFKA_" + property_.upper().replace(".", "_")
    options = ["--kafka-property", f"{property_}={value}"] if as_option else []
    variables: dict[str, Any] = {} if as_option else {variable: value}

    line = here.fail(
        "produce-from-file", "--file", "trips.parquet", *options, KAFKA_BOOTSTRAP_SERVERS=NO_BROKER, **variables
    )

    assert line.startswith("wrong Kafka setting: ")
    assert property_ in line


@pytest.mark.kafka
def test_a_kafka_property_reaches_the_client(on_kafka: Pipeline, trips_file: Path) -> None:
    summary = on_kafka.produce(
        trips_file, "--kafka-property", "compression.type=zstd", CHILLFLOW_KAFKA_CLIENT_ID="somebody"
    )

    assert summary["delivered"] == 1500


@pytest.mark.parametrize(
    "arguments",
    [["no-such-command"], ["produce-from-file"], ["produce-from-file", "--speed", "fast"], ["--bogus"]],
    ids=str,
)
def test_wrong_usage(here: Pipeline, arguments: list[str]) -> None:
    done = here.run(*arguments, code=2)

    assert done.stdout == ""
    assert "Usage: chillflow-stream" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(here: Pipeline) -> None:
    done = here.run("produce-from-file", "--file", "absent.parquet", "--debug", code=1)

    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-1] == "chillflow.errors.InputError: absent.parquet: no such file"


# Errors during a run


@pytest.mark.kafka
def test_a_refused_message_stops_the_producer(on_kafka: Pipeline, trips_file: Path) -> None:
    from confluent_kafka.cimpl import NewTopic

    on_kafka.run("create-topic", "--topic", on_kafka.dlq)
    admin = on_kafka.topics.kafka._admin  # type: ignore[attr-defined]
    made = admin.create_topics([NewTopic(on_kafka.topic, 4, 1, config={"max.message.bytes": "200"})])
    made[on_kafka.topic].result(timeout=30)

    line = on_kafka.fail("produce-from-file", "--file", trips_file)

    assert line.startswith(f"a message for {on_kafka.topic} was not delivered: ")
    assert "too large" in line.lower() or "size" in line.lower()


def test_a_table_dropped_during_the_run(on_servers: Pipeline, trips_file: Path) -> None:
    on_servers.run("init-db")
    on_servers.run("create-topic")
    with on_servers.start("assemble") as assembling:
        on_servers.produce(trips_file, "--limit", 50)
        assembling.wait_for(lambda: on_servers.rows() == 50)
        with psycopg.connect(on_servers.database) as connection:
            connection.execute("drop table stg.complete_trip cascade")
        on_servers.produce(trips_file)
        done = assembling.result(within=20)

    assert done.code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "init-db" in line


def test_it_waits_for_a_database_that_comes_back(
    embedded: Pipeline, own_postgres: PostgresServer, trips_file: Path
) -> None:
    embedded.environment["DATABASE_URL"] = own_postgres.url
    embedded.run("init-db")
    embedded.run("create-topic")
    with embedded.start("assemble") as assembling:
        embedded.produce(trips_file, "--limit", 50)
        assembling.wait_for(lambda: len(embedded.trips()) == 50)
        own_postgres.kill()
        embedded.produce(trips_file)
        assembling.wait_for(lambda: "Postgres is away" in assembling.stderr.read_text())
        own_postgres.start()
        assembling.wait_for(lambda: _count(own_postgres.url) == 300)
        assert assembling.stop().code == 0


def _count(url: str) -> int:
    with psycopg.connect(url) as connection:
        (count,) = connection.execute("select count(*) from stg.complete_trip").fetchone() or (0,)
        return int(count)


def test_a_topic_of_results_deleted_during_the_run(on_kafka: Pipeline, trips_file: Path) -> None:
    on_kafka.run("create-topic")
    with on_kafka.start(
        "assemble",
        "--kafka-property",
        "message.timeout.ms=4000",
        CHILLFLOW_KAFKA_TOPIC_METADATA_PROPAGATION_MAX_MS="500",
    ) as assembling:
        on_kafka.produce(trips_file, "--limit", 50)
        assembling.wait_for(lambda: len(on_kafka.trips()) == 50)
        admin = on_kafka.topics.kafka._admin  # type: ignore[attr-defined]
        admin.delete_topics([on_kafka.complete])[on_kafka.complete].result(timeout=30)
        on_kafka.produce(trips_file)
        done = assembling.result(within=40)

    assert done.code == 1
    assert "Traceback" not in done.stderr
    # The whole transaction fails: the message reported may be for another of its topics.
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert any(topic in last for topic in (on_kafka.complete, on_kafka.windows))
