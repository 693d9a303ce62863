"""The pipeline with exactly the permissions of docs/security.md, and without each one of them."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AclBinding, AclOperation  # type: ignore[attr-defined]

from tests.integration import security_page as page
from tests.integration.secured import ASSEMBLER, OWNER, PRODUCER, READER, World
from tests.pipelines.command import elapsed
from tests.pipelines.pipeline import Changes, Pipeline

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
WRITER = "chillflow-writer"
NOT_ALLOWED = r"[Aa]uthorization failed.* \(see docs/security.md\)$"


def test_the_pipeline_runs_with_the_permissions_of_the_page(world: World, days_file: Path) -> None:
    pipeline = world.pipeline
    sent = _send_some_of_each(world, days_file)
    with pipeline.start("assemble", **world.by(ASSEMBLER, WRITER), CHILLFLOW_WINDOW_RETENTION="20d") as assembling:
        assembling.wait_for(lambda: pipeline.rows() > 500)
        status = pipeline.run("status").stdout
        assembling.process.send_signal(signal.SIGKILL)
        assembling.result()
    assert status.startswith("ready: 1 worker")
    summary = pipeline.run("assemble", "--exit-at-end", "--json", **world.by(ASSEMBLER, WRITER)).account

    assert summary["events"] == sent
    assert summary["complete_trips"] == len(pipeline.trips()) == pipeline.rows() > 500
    assert min(summary["incomplete_trips"], summary["late"], summary["dead_letters"]) > 0
    assert all(pipeline.topics.read(topic) for topic in world.results)
    (group,) = world.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("trip-assembler")]).values()
    committed = {
        each.partition: each.offset for each in group.result().topic_partitions if each.topic == pipeline.topic
    }
    assert committed == {number: _end(pipeline, number) for number in range(4)}

    read = pipeline.run("consume-events", "--topic", pipeline.complete, "--exit-at-end", **world.by(READER, READER))
    assert len(read.lines) == summary["complete_trips"]
    again = pipeline.run("produce-events", "--limit", 3, "--json", **world.by(PRODUCER, READER))
    assert again.json["trips"] == 3
    diagnosed = pipeline.run("doctor", **world.by(OWNER, OWNER), code=None)
    wrong = [line for line in diagnosed.lines if line.startswith("WRONG")]
    assert len(wrong) == 1, diagnosed.stdout
    assert "late events" in wrong[0]  # a tenth of these events are
    pipeline.run("reset", "--yes", **world.by(OWNER, OWNER))
    assert pipeline.rows() == 0


def _send_some_of_each(world: World, file: Path) -> int:
    """Send events that lead to results of every kind; return how many were sent."""
    produced = [
        world.pipeline.produce(file, *more, **world.by(PRODUCER))
        for more in (["--duplicates", "0.05", "--drop", "0.02"], ["--limit", "50"])  # these are late
    ]
    assert all(each["rejected"] == 1 for each in produced)
    world.pipeline.topics.send(world.pipeline.topic, b"k", b"no event")
    return int(sum(each["delivered"] for each in produced)) + 1


def _end(pipeline: Pipeline, partition: int) -> int:
    return max(each.offset for each in pipeline.events() if each.partition == partition) + 1


def test_database_roles_have_no_further_permissions(world: World) -> None:
    forbidden = {
        WRITER: ["delete from stg.complete_trip", "create table stg.mine ()", "select * from dim.zone"],
        READER: [
            "delete from stg.complete_trip",
            "update mart.zone_window set trips = 0",
            "create temporary table t ()",
        ],
    }
    for role, statements in forbidden.items():
        for statement in statements:
            with (
                psycopg.connect(world.url(role)) as connection,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                connection.execute(statement.encode())
    with psycopg.connect(world.url(READER)) as connection:
        for view in ("mart.zone_hourly", "mart.top_zones", "mart.zone_flow", "stg.still_incomplete_trip", "dim.zone"):
            connection.execute(f"select * from {view}".encode())


@pytest.mark.timeout(600)
def test_a_missing_permission_is_reported(world: World, days_file: Path) -> None:
    pipeline = world.pipeline
    _send_some_of_each(world, days_file)
    assemble = ["assemble", "--exit-at-end"]
    pipeline.run(*assemble, **world.by(ASSEMBLER))
    without = []
    for number, right in enumerate(sorted(world.rights, key=_writes_last)):
        who = right.principal.removeprefix("User:")
        if who == OWNER:
            continue  # several commands with different permissions
        world.kafka.forbid(right)
        store: Changes = {"CHILLFLOW_RECOVERY_DIR": str(pipeline.folder / f"without-{number}")}
        if who == ASSEMBLER and right.operation == AclOperation.WRITE:
            world.empty_results()
        topic = right.name if right.name in world.results else pipeline.complete
        commands: dict[str, list[object]] = {
            PRODUCER: ["produce-from-file", "--file", days_file],
            ASSEMBLER: [*assemble],
            READER: ["consume-events", "--exit-at-end", "--topic", topic],
        }
        done = pipeline.run(*commands[who], code=None, **world.by(who), **store)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: the recovery store is new")]
        if done.code != 1 or len(lines) != 1 or not re.search(NOT_ALLOWED, lines[0]):
            without.append((who, right.restype, right.name, right.operation, done.code, done.stderr))
        world.kafka.allow(right)

    assert without == []
    world.empty_results()
    assert pipeline.run(*assemble, "--json", **world.by(ASSEMBLER), CHILLFLOW_RECOVERY_DIR="new").account["late"] > 0


def _writes_last(right: AclBinding) -> bool:
    """Sort key: read permissions first, because tests of write permissions empty the topics to be read back."""
    return bool(right.operation == AclOperation.WRITE)


COMMANDS = {
    PRODUCER: "produce-from-file --file trips.parquet",
    ASSEMBLER: "assemble --exit-at-end",
    READER: "consume-events --exit-at-end",
}


@pytest.mark.parametrize("who", COMMANDS)
def test_authentication_errors_are_reported_at_once(world: World, trips_file: Path, who: str) -> None:
    pipeline = world.pipeline
    (pipeline.folder / "trips.parquet").write_bytes(trips_file.read_bytes())
    by = world.by(who)

    def fail(**changes: str) -> str:
        lines: list[str] = []
        seconds = elapsed(
            lambda: lines.append(
                pipeline.fail(*COMMANDS[who].split(), **{**by, "CHILLFLOW_KAFKA_TIMEOUT": "60s", **changes})
            )
        )
        assert seconds < 30  # without waiting for the timeout
        return lines[0]

    (pipeline.folder / "wrong").write_text("not that")
    wrong_password = fail(CHILLFLOW_KAFKA_SASL_PASSWORD_FILE="wrong")
    wrong_authority = fail(CHILLFLOW_KAFKA_SSL_CA_LOCATION=str(world.kafka.certificates / "other-ca.pem"))

    start = f"Kafka at {world.kafka.sasl_address}: "
    assert wrong_password.startswith(f"{start}SASL authentication error: Authentication failed")
    assert wrong_authority.startswith(f"{start}SSL handshake failed: ")
    assert "certificate verify failed" in wrong_authority
    assert all(line.endswith("(see docs/security.md)") for line in (wrong_password, wrong_authority))


@pytest.mark.parametrize("command", ["init-db", "produce-events", "assemble --exit-at-end"])
def test_a_wrong_database_password_is_reported(world: World, command: str) -> None:
    url = world.url(OWNER).replace("Xyzzy", "Plugh")

    line = world.pipeline.fail(*command.split(), **{**world.by(OWNER), "DATABASE_URL": url})

    assert line.startswith("Postgres refuses: ")
    assert f'password authentication failed for user "{world.role(OWNER)}"' in line


def test_a_certificate_replaces_the_password(world: World, trips_file: Path) -> None:
    pipeline, certificates = world.pipeline, world.kafka.certificates
    world.kafka.certify("chillflow-producer")
    _, by_certificate = page.exports()
    places = {
        "KAFKA_BOOTSTRAP_SERVERS": world.kafka.mutual_address,
        "CHILLFLOW_KAFKA_SSL_CA_LOCATION": str(certificates / "ca.pem"),
        "CHILLFLOW_KAFKA_SSL_CERTIFICATE_LOCATION": str(certificates / "chillflow-producer.pem"),
        "CHILLFLOW_KAFKA_SSL_KEY_LOCATION": str(certificates / "chillflow-producer.key"),
    }
    changes: Changes = {**by_certificate, **places}
    assert changes.keys() - by_certificate.keys() == {"KAFKA_BOOTSTRAP_SERVERS"}
    produce = ["produce-from-file", "--file", trips_file]

    assert re.search(NOT_ALLOWED, pipeline.fail(*produce, **changes))
    of_producer = [each for each in world.rights if each.principal == f"User:{PRODUCER}"]
    world.kafka.allow(*(_for(each, f"User:CN={PRODUCER}") for each in of_producer))
    assert pipeline.run(*produce, "--json", **changes).json["delivered"] == 1500


def _for(right: AclBinding, principal: str) -> AclBinding:
    return AclBinding(
        right.restype,
        right.name,
        right.resource_pattern_type,
        principal,
        right.host,
        right.operation,
        right.permission_type,
    )


@pytest.mark.parametrize("operation", [AclOperation.WRITE, AclOperation.READ], ids=lambda each: each.name)
def test_a_permission_revoked_during_a_run_ends_the_run(
    world: World,
    trips_file: Path,
    operation: AclOperation,
) -> None:
    pipeline = world.pipeline
    topic = pipeline.complete if operation == AclOperation.WRITE else pipeline.topic
    (right,) = (
        each
        for each in world.rights
        if (each.principal, each.name, each.operation) == (f"User:{ASSEMBLER}", topic, operation)
    )
    with pipeline.start("assemble", **world.by(ASSEMBLER, WRITER)) as assembling:
        pipeline.produce(trips_file, "--limit", 50, **world.by(PRODUCER))
        assembling.wait_for(lambda: len(pipeline.trips()) == 50)
        world.kafka.forbid(right)
        pipeline.produce(trips_file, **world.by(PRODUCER))
        ended = assembling.result(within=30)

    assert ended.code == 1
    *before, line = ended.stderr.splitlines()
    assert all("offsets not committed" in each for each in before)  # commits need the permission, too
    assert line.startswith("error: ")
    assert re.search(NOT_ALLOWED, line)
    world.kafka.allow(right)
    summary = pipeline.run("assemble", "--exit-at-end", "--json", **world.by(ASSEMBLER, WRITER)).account
    assert summary["complete_trips"] == pipeline.rows() == 300
    assert len({trip["trip_key"] for trip in pipeline.trips()}) == len(pipeline.trips()) == 300
