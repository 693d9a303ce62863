"""The job of `doctor`: query servers, directories and clocks, and check the answers. Read-only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime

from chillflow.connectors import open_database, open_log
from chillflow.connectors.database import migrations
from chillflow.connectors.inspection import is_misplaced, is_mistimed
from chillflow.connectors.log import Description, Log
from chillflow.errors import ChillFlowError, UnknownTopicError
from chillflow.model.topics import registry
from chillflow.operation.doctor_checks import (
    Finding,
    Sample,
    TopicCheck,
    check_clock,
    check_database,
    check_keys,
    check_recovery,
    check_timestamps,
    check_watermark,
)
from chillflow.operation.store_inspection import inspect_store
from chillflow.running.recovery import check_identity
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


def _topics(settings: Settings, log: Log, described: Mapping[str, Description | None]) -> Iterator[Finding]:
    events = described[settings.topic]
    check = TopicCheck(
        settings.kafka_bootstrap_servers, settings.topic, events, settings.event_time, settings.create_topics
    )
    for name, spec in registry(settings).items():
        yield from check.findings(spec, described[name])
    samples = [*_samples(log, settings.topic, events.partitions)] if events else []
    yield check_keys(samples)
    yield check_timestamps(samples, settings.event_time)
    yield check_watermark(samples, datetime.now(UTC), settings.stream_time_rank, settings.max_future_skew)


def _describe(log: Log, name: str) -> Description | None:
    try:
        return log.describe(name)
    except UnknownTopicError:
        return None


def _samples(log: Log, topic: str, partitions: int) -> Iterator[Sample]:
    for number in range(min(partitions, _PARTITIONS)):
        for record in log.newest(topic, number, _SAMPLE):
            misplaced = is_misplaced(log, record, number, partitions)
            yield Sample(record.key, number, misplaced, is_mistimed(record), record.timestamp)


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
