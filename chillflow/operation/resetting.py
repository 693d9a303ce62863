"""The job of `reset`: remove the state and the results of assembly. The events stay."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass

from chillflow.connectors import open_database, open_log
from chillflow.connectors.log import Log
from chillflow.errors import UnknownTopicError
from chillflow.model.topics import TopicSpec, registry
from chillflow.running.recovery import last_hold, remove_store
from chillflow.settings import Settings
from dataflows.assemble import pipeline_name

__all__ = ["Removed", "reset", "result_topics"]


@dataclass(frozen=True)
class Removed:
    """The result of a reset."""

    topics: list[str]
    """Topics of results, now empty."""
    rows: Mapping[str, int]
    """Rows deleted, by table."""


def result_topics(settings: Settings) -> list[str]:
    """The topics that assembly writes to."""
    return [spec.name for spec in _specs(settings)]


def reset(settings: Settings) -> Removed:
    """Remove the recovery store, empty the tables and recreate the topics of the results.

    The store goes first. So an interrupted reset leaves a new store next to old results, which another `reset` mends,
    and never an old store that takes new results for its own. Raises ChillFlowError: RecoveryError if an `assemble`
    is running.
    """
    log = open_log(settings)
    partitions = log.partitions(settings.topic)
    specs, topics = _specs(settings), result_topics(settings)
    replicas = max([settings.replication_factor, *(_replicas(log, name) for name in topics)])
    with ExitStack() as stack:
        database = stack.enter_context(closing(open_database(settings))) if settings.database_url else None
        if database is not None:
            database.check()
        stack.enter_context(last_hold(settings.recovery_dir))
        log.fence(pipeline_name(settings), partitions)  # an instance elsewhere can write nothing more
        remove_store(settings.recovery_dir)
        rows = database.empty() if database is not None else {}
        log.remove_topics(topics)
        log.ensure_topics(specs, partitions, replicas)
    return Removed(topics, rows)


def _specs(settings: Settings) -> list[TopicSpec]:
    return [spec for name, spec in registry(settings).items() if name != settings.topic]


def _replicas(log: Log, name: str) -> int:
    try:
        return log.describe(name).replicas
    except UnknownTopicError:
        return 0
