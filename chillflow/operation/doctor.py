"""The job of `doctor`: query servers, directories and clocks, and check the answers. Read-only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from chillflow.connectors import open_database, open_log
from chillflow.connectors.account_file import read_late_share
from chillflow.connectors.database import migrations
from chillflow.connectors.inspection import body_time, is_misplaced, is_mistimed
from chillflow.connectors.log import Description, Log
from chillflow.errors import ChillFlowError, UnknownTopicError
from chillflow.keyed.batches import Record
from chillflow.model.topics import registry
from chillflow.operation import run_status
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
from chillflow.operation.store_inspection import inspect_store
from chillflow.running.recovery import ACCOUNT_FILE, check_identity
from chillflow.running.wiring import pipeline_identity
from chillflow.settings import Settings

__all__ = ["examine"]

_SAMPLE = 400
"""Messages sampled from each partition, the newest."""
_PARTITIONS = 16
"""Maximum number of partitions sampled: each needs its own reader."""


def examine(settings: Settings) -> Iterator[Finding]:
    """The findings of all checks. A server that does not answer is a finding, not an error."""
    events = None
    try:
        log = open_log(settings)
        described = {name: _describe(log, name) for name in registry(settings)}
        events = described[settings.topic]
        yield Finding("broker", "ok", f"{settings.kafka_bootstrap_servers} answers")
        yield from _topics(settings, log, described)
    except ChillFlowError as error:
        yield Finding("broker", "wrong", str(error))
    yield from _database(settings)
    yield _recovery(settings, events)
    yield check_late_share(read_late_share(settings.recovery_dir / ACCOUNT_FILE))


def _topics(settings: Settings, log: Log, described: Mapping[str, Description | None]) -> Iterator[Finding]:
    events = described[settings.topic]
    check = TopicCheck(
        settings.kafka_bootstrap_servers, settings.topic, events, settings.event_time, settings.create_topics
    )
    for name, spec in registry(settings).items():
        yield from check.findings(spec, described[name])
    samples = [*_samples(log, settings, events.partitions)] if events else []
    yield check_keys(samples)
    yield check_timestamps(samples, settings.event_time)
    newest = newest_times(samples, settings.stream_time_rank)
    yield check_watermarks(_reached(settings.recovery_dir), newest, datetime.now(UTC), settings.max_future_skew)


def _describe(log: Log, name: str) -> Description | None:
    try:
        return log.describe(name)
    except UnknownTopicError:
        return None


def _samples(log: Log, settings: Settings, partitions: int) -> Iterator[Sample]:
    for number in range(min(partitions, _PARTITIONS)):
        for record in log.newest(settings.topic, number, _SAMPLE):
            misplaced = is_misplaced(log, record, number, partitions)
            time = _event_time(record, from_body=settings.event_time == "body")
            yield Sample(record.key, number, misplaced, is_mistimed(record), time)


def _event_time(record: Record, *, from_body: bool) -> int | None:
    """The event time of a message, as `assemble` takes it; None if the message is not an event."""
    time = body_time(record.value)
    return time if from_body or time is None else record.timestamp


def _reached(folder: Path) -> dict[int, float] | None:
    """The watermarks that the `assemble` on this recovery directory has reached; None if none answers."""
    try:
        return run_status.watermarks(run_status.sample(run_status.find(folder)))
    except ChillFlowError:
        return None


def _database(settings: Settings) -> Iterator[Finding]:
    if not settings.database_url:
        yield Finding("database", "ok", "none (DATABASE_URL): results go to their topics only")
        yield Finding("clock", "skipped", "no database to compare with, and Kafka does not report its time")
        return
    try:
        with closing(open_database(settings)) as database:
            yield check_database(database.applied(), {step.version: step.name for step in migrations()})
            time = database.clock()
    except ChillFlowError as error:
        yield Finding("database", "wrong", str(error))
        return
    if time is None:
        yield Finding("clock", "ok", "there is no other: the database is a file")
    else:
        yield check_clock(time, datetime.now(UTC))


def _recovery(settings: Settings, events: Description | None) -> Finding:
    folder = settings.recovery_dir
    try:
        if events is not None:
            check_identity(folder, pipeline_identity(settings, events.partitions))
        return check_recovery(inspect_store(folder), folder, datetime.now(UTC), settings.ready_epoch_limit)
    except ChillFlowError as error:
        return Finding("recovery", "wrong", str(error))
