"""The checks of `doctor` alone. That each fault is found on real servers: tests/integration/test_doctor.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chillflow.connectors.database import migrations
from chillflow.connectors.log import Description
from chillflow.model.topics import registry
from chillflow.operation.doctor_checks import (
    Finding,
    Sample,
    TopicCheck,
    check_clock,
    check_database,
    check_keys,
    check_late_share,
    check_recovery,
    check_timestamps,
    check_watermarks,
    newest_times,
)
from chillflow.operation.store_inspection import StoreInfo
from chillflow.settings import Settings
from chillflow.telemetry.late_share import CAUSES

NOW = datetime(2024, 5, 1, tzinfo=UTC)
SPECS = registry(Settings())
EVENTS = Description(4, 1, {})
CHECK = TopicCheck("localhost:9092", "trip-events", EVENTS, "timestamp", create_topics=True)
STORE = StoreInfo(locked=True, parts=4, expected=4, epoch=7, written=NOW - timedelta(seconds=1), size=10**6)


def sample(
    key: bytes, partition: int = 0, *, misplaced: bool = False, mistimed: bool = False, at: int | None = 0
) -> Sample:
    return Sample(key, partition, misplaced, mistimed, at)


@pytest.mark.parametrize("name", SPECS)
def test_a_topic_of_ours_is_ok(name: str) -> None:
    (found,) = CHECK.findings(SPECS[name], Description(4, 3, SPECS[name].config))
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
def test_faults_of_a_topic_configuration(name: str, config: dict[str, str], wrong: list[str]) -> None:
    found = [*CHECK.findings(SPECS[name], Description(4, 1, {**SPECS[name].config, **config}))]
    assert [each.found.partition(": ")[0] for each in found if each.status == "wrong"] == wrong


def test_a_topic_that_does_not_exist() -> None:
    keep = TopicCheck("localhost:9092", "trip-events", EVENTS, "timestamp", create_topics=False)
    (events,) = CHECK.findings(SPECS["trip-events"], None)
    (trips,) = CHECK.findings(SPECS["complete-trips"], None)
    (not_created,) = keep.findings(SPECS["complete-trips"], None)
    assert (events.status, trips.status, not_created.status) == ("wrong", "ok", "wrong")
    assert not_created.advice == "chillflow-stream create-topic --topic complete-trips"


def test_the_dead_letter_topic_may_have_one_more_partition() -> None:
    def status(name: str, partitions: int) -> str:
        (found,) = CHECK.findings(SPECS[name], Description(partitions, 1, {}))
        return found.status

    assert (status("trip-events.dlq", 4), status("trip-events.dlq", 5)) == ("ok", "ok")
    assert (status("trip-events.dlq", 6), status("complete-trips", 5)) == ("wrong", "wrong")


def test_keys() -> None:
    assert check_keys([]).status == "skipped"
    assert check_keys([sample(b"a"), sample(b"a"), sample(b"b", 1)]).status == "ok"
    assert check_keys([sample(b"a"), sample(b"b", 1, misplaced=True)]).found.startswith("1 of 2 sampled messages")
    assert check_keys([sample(b"a"), sample(b"a", 1, misplaced=True)]).found.startswith("1 of 1 sampled keys")


def test_timestamps() -> None:
    assert check_timestamps([], "timestamp").status == "skipped"
    assert check_timestamps([sample(b"a")], "timestamp").status == "ok"
    wrong = check_timestamps([sample(b"a"), sample(b"b", mistimed=True)], "timestamp")
    assert wrong.found == "those of 1 of 2 sampled messages are not event times"
    assert check_timestamps([sample(b"a", mistimed=True)], "body").status == "ok"


@pytest.mark.parametrize(
    ("ahead", "status", "said"),
    [
        (timedelta(hours=-50), "ok", "2 d 2 h behind this clock"),
        (timedelta(seconds=5), "ok", "at the time of this clock"),
        (timedelta(minutes=59), "ok", "59 min ahead of this clock"),  # producers may be this far ahead
        (timedelta(minutes=61), "wrong", "1 h 1 min ahead of this clock"),
    ],
)
def test_watermarks(ahead: timedelta, status: str, said: str) -> None:
    reached = {0: (NOW + ahead).timestamp(), 2: (NOW + ahead).timestamp(), 1: (NOW - timedelta(days=3)).timestamp()}
    found = check_watermarks(reached, {3: 0.0}, NOW, timedelta(hours=1))
    others = ", 3 d behind this clock (partition 1)" if status == "ok" else ": new trips time out and are late"
    assert (found.status, found.found.startswith(f"reached: {said} (partitions 0, 2){others}")) == (status, True), found


def test_without_a_run_the_newest_events_are_shown_as_such() -> None:
    at = int(NOW.timestamp() * 1000)
    wrong = [sample(b"c", at=2**50)] * 19  # fewer than the rank of the watermark
    newest = newest_times([sample(b"a", at=at)] * 20 + wrong + [sample(b"b", 1, at=at)] * 19, 20)
    assert newest == {0: NOW.timestamp()}
    found = check_watermarks(None, newest, NOW, timedelta(hours=1))
    assert found.found == "no `assemble` answers; newest events: at the time of this clock (partition 0)"
    assert check_watermarks({}, newest, NOW, timedelta(hours=1)).status == "skipped", "a run has not reached any"


def test_messages_that_are_no_events_are_no_newest_events() -> None:
    assert newest_times([sample(b"a", at=None)] * 20, 20) == {}


def test_late_events() -> None:
    assert check_late_share(None) == Finding("late events", "skipped", "no events yet")
    assert check_late_share(0.0099).status == "ok"
    wrong = check_late_share(0.01)
    assert (wrong.status, wrong.found) == ("wrong", "1.0 % of the last 10,000 events or 5 minutes")
    assert (wrong.advice or "").splitlines() == [*CAUSES]


def test_tables() -> None:
    known = {step.version: step.name for step in migrations()}
    versions = [*known]
    assert check_database(versions, known).status == "ok"
    assert check_database([], known).found == "there are no tables"
    assert check_database(versions[:-1], known).found == f"migrations are missing: {known[versions[-1]]}"
    assert check_database([*versions, 99], known).advice == "upgrade this one"


def recovery(store: StoreInfo | None) -> Finding:
    return check_recovery(store, "DIR", NOW, timedelta(minutes=1))


def test_the_recovery_store() -> None:
    assert recovery(None).found == "no store in DIR yet: `assemble` creates it"
    assert recovery(STORE).found == "in use, epoch 7, 1 s ago, 1.0 MB in DIR"
    assert recovery(STORE._replace(epoch=None, locked=False)).found == "not in use, no epoch yet, 1.0 MB in DIR"
    old = STORE._replace(written=NOW - timedelta(minutes=2))
    assert recovery(old).status == "wrong"
    assert recovery(old._replace(locked=False)).status == "ok", "nothing is to write to it"
    assert recovery(STORE._replace(parts=3)).status == "wrong"


def test_clocks() -> None:
    assert check_clock(NOW + timedelta(seconds=29), NOW).status == "ok"
    assert check_clock(NOW - timedelta(seconds=31), NOW).found.endswith("differ by 31 s")
