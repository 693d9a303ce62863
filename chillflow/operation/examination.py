"""Asks the servers, the folders and the clocks of the settings for what the checks of `doctor` judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from chillflow.connectors import open_database, open_log
from chillflow.connectors.database import migrations
from chillflow.connectors.inspection import is_misplaced, is_mistimed
from chillflow.connectors.log import Description, Log
from chillflow.errors import ChillFlowError, UnknownTopicError
from chillflow.model.topics import registry
from chillflow.operation import checks, store_view
from chillflow.operation.checks import Finding, Sample
from chillflow.running.recovery import check_identity
from chillflow.running.wiring import pipeline_identity
from chillflow.settings import Settings

__all__ = ["examine"]

_SAMPLE = 400
"""Messages of a partition that are looked at, the newest."""
_PARTITIONS = 16
"""Partitions that are sampled: each takes a reader of its own."""


def examine(settings: Settings) -> Iterator[Finding]:
    """All checks, one after the other; what does not answer is a finding too."""
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
    for name, spec in registry(settings).items():
        yield from checks.topic(spec, described[name], events, settings)
    samples = [*_samples(log, settings.topic, events.partitions)] if events else []
    yield checks.keys(samples)
    yield checks.timestamps(samples, settings)
    yield checks.stream_time(samples, datetime.now(UTC), settings)


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
        yield Finding("clock", "skipped", "no database to ask for the time, and Kafka does not tell its own")
        return
    try:
        database = open_database(settings)
        yield checks.database(database.applied(), migrations())
        time = database.clock()
        database.close()
    except ChillFlowError as error:
        yield Finding("database", "wrong", str(error))
        return
    if time is None:
        yield Finding("clock", "ok", "there is no other: the database is a file")
    else:
        yield checks.clock(time, datetime.now(UTC))


def _recovery(settings: Settings, events: Description | None) -> Finding:
    folder = settings.recovery_dir
    try:
        if events is not None:
            check_identity(folder, pipeline_identity(settings, events.partitions))
        return checks.recovery(store_view.look(folder), folder, datetime.now(UTC), settings)
    except ChillFlowError as error:
        return Finding("recovery", "wrong", str(error))
