"""The job of `reset`: remove the state and the results of assembly, but not the events."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass

from chillflow.connectors import open_database, open_log
from chillflow.connectors.log import Log
from chillflow.errors import UnknownTopicError
from chillflow.model.topics import result_topics
from chillflow.running.recovery import locked_for_removal, remove_store
from chillflow.settings import Settings
from dataflows.assemble import pipeline_name

__all__ = ["Removed", "reset"]


@dataclass(frozen=True)
class Removed:
    """The result of a reset."""

    topics: list[str]
    """Result topics, now empty."""
    rows: Mapping[str, int]
    """Rows deleted, by table."""


def reset(settings: Settings) -> Removed:
    """Remove the recovery store, empty the tables and recreate the result topics.

    The store goes first: an interrupted reset then leaves old results without a store, which another `reset` repairs,
    and never an old store with new results. Raises ChillFlowError: RecoveryError if an `assemble` is running.
    """
    log = open_log(settings)
    partitions = log.partitions(settings.topic)
    topics = result_topics(settings)
    replicas = max([settings.replication_factor, *(_replicas(log, name) for name in topics)])
    with ExitStack() as stack:
        database = stack.enter_context(closing(open_database(settings))) if settings.database_url else None
        if database is not None:
            database.check()
        stack.enter_context(locked_for_removal(settings.recovery_dir))
        log.fence(pipeline_name(settings), partitions)  # an instance elsewhere can write nothing more
        remove_store(settings.recovery_dir)
        rows = database.empty() if database is not None else {}
        log.remove_topics([*topics])
        log.ensure_topics([*topics.values()], partitions, replicas)
    return Removed([*topics], rows)


def _replicas(log: Log, name: str) -> int:
    try:
        return log.describe(name).replicas
    except UnknownTopicError:
        return 0
