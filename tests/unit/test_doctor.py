"""The checks of `doctor` alone. That each fault is found on real servers: tests/integration/test_doctor.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chillflow.connectors.database import migrations
from chillflow.connectors.log import Description
from chillflow.model.topics import registry
from chillflow.operation import checks
from chillflow.operation.checks import Finding, Sample
from chillflow.operation.store_view import Store
from chillflow.settings import Settings

NOW = datetime(2024, 5, 1, tzinfo=UTC)
SETTINGS = Settings()
SPECS = registry(SETTINGS)
EVENTS = Description(4, 1, {})
STORE = Store(held=True, parts=4, expected=4, epoch=7, written=NOW - timedelta(seconds=1), size=10**6)


def sample(key: bytes, partition: int = 0, *, misplaced: bool = False, mistimed: bool = False, at: int = 0) -> Sample:
    return Sample(key, partition, misplaced, mistimed, at)


@pytest.mark.parametrize("name", SPECS)
def test_a_topic_of_ours_is_well(name: str) -> None:
    (found,) = checks.topic(SPECS[name], Description(4, 3, SPECS[name].config), EVENTS, SETTINGS)
    assert found.status == "ok"


@pytest.mark.parametrize(
    ("name", "config", "wrong"),
    [
        ("trip-events", {"retention.ms": "1000"}, ["retention.ms=1000"]),
        ("zone-windows", {"retention.ms": "1000"}, []),  # a topic that is only compacted deletes nothing by time
        ("zone-windows", {"retention.ms": "1000", "cleanup.policy": "compact,delete"}, ["retention.ms=1000"]),
        ("zone-windows", {"cleanup.policy": "delete"}, ["cleanup.policy=delete"]),
        ("trip-events", {"cleanup.policy": "compact,delete"}, ["cleanup.policy=compact,delete"]),
        ("trip-events", {"message.timestamp.type": "LogAppendTime"}, ["message.timestamp.type=LogAppendTime"]),
        ("complete-trips", {"message.timestamp.before.max.ms": "60000"}, ["message.timestamp.before.max.ms=60000"]),
    ],
)
def test_what_is_wrong_with_a_configuration(name: str, config: dict[str, str], wrong: list[str]) -> None:
    found = [*checks.topic(SPECS[name], Description(4, 1, {**SPECS[name].config, **config}), EVENTS, SETTINGS)]
    assert [each.found.partition(": ")[0] for each in found if each.status == "wrong"] == wrong


def test_dead_letters_may_have_a_partition_more() -> None:
    def status(name: str, partitions: int) -> str:
        (found,) = checks.topic(SPECS[name], Description(partitions, 1, {}), EVENTS, SETTINGS)
        return found.status

    assert (status("trip-events.dlq", 4), status("trip-events.dlq", 5)) == ("ok", "ok")
    assert (status("trip-events.dlq", 6), status("complete-trips", 5)) == ("wrong", "wrong")


def test_keys() -> None:
    assert checks.keys([]).status == "skipped"
    assert checks.keys([sample(b"a"), sample(b"a"), sample(b"b", 1)]).status == "ok"
    assert checks.keys([sample(b"a"), sample(b"b", 1, misplaced=True)]).found.startswith("1 of 2 sampled messages")
    assert checks.keys([sample(b"a"), sample(b"a", 1, misplaced=True)]).found.startswith("1 of 1 sampled keys")


@pytest.mark.parametrize(
    ("ahead", "status", "said"),
    [
        (timedelta(hours=-50), "ok", "2 d 2 h behind"),
        (timedelta(seconds=5), "ok", "that of this clock"),
        (timedelta(minutes=59), "ok", "that of this clock"),  # as far as producers may be ahead
        (timedelta(minutes=61), "wrong", "1 h 1 min ahead"),
    ],
)
def test_stream_time(ahead: timedelta, status: str, said: str) -> None:
    at = int((NOW + ahead).timestamp() * 1000)
    found = checks.stream_time([sample(b"a", at=at)] * 20 + [sample(b"b", 1, at=2**50)] * 19, NOW, SETTINGS)
    assert (found.status, found.found.startswith(said)) == (status, True), found


def test_tables() -> None:
    known = migrations()
    versions = [step.version for step in known]
    assert checks.database(versions, known).status == "ok"
    assert checks.database([], known).found == "there are no tables"
    assert checks.database(versions[:-1], known).found == f"migrations are missing: {known[-1].name}"
    assert checks.database([*versions, 99], known).advice == "upgrade this one"


def recovery(store: Store | None) -> Finding:
    return checks.recovery(store, "DIR", NOW, SETTINGS)


def test_the_recovery_store() -> None:
    assert recovery(None).found == "no store in DIR yet: `assemble` makes it"
    assert recovery(STORE).found == "in use, epoch 7, 1 s ago, 1.0 MB in DIR"
    assert recovery(STORE._replace(epoch=None, held=False)).found == "not in use, no epoch yet, 1.0 MB in DIR"
    old = STORE._replace(written=NOW - timedelta(minutes=2))
    assert recovery(old).status == "wrong"
    assert recovery(old._replace(held=False)).status == "ok", "nobody is to write to it"
    assert recovery(STORE._replace(parts=3)).status == "wrong"


def test_clocks() -> None:
    assert checks.clock(NOW + timedelta(seconds=29), NOW).status == "ok"
    assert checks.clock(NOW - timedelta(seconds=31), NOW).found.endswith("31 s apart")
