"""Beginning anew: what `assemble` has made and what it remembers is removed; the events stay."""

from __future__ import annotations

from chillflow.connectors import open_database, open_log
from chillflow.connectors.log import Log
from chillflow.errors import UnknownTopicError
from chillflow.model.topics import TopicSpec, registry
from chillflow.running.recovery import last_hold, remove_store
from chillflow.settings import Settings
from dataflows.assemble import pipeline_name

__all__ = ["reset", "results"]


def results(settings: Settings) -> list[TopicSpec]:
    """The topics that assembly writes to."""
    return [spec for name, spec in registry(settings).items() if name != settings.topic]


def reset(settings: Settings) -> dict[str, int]:
    """Remove the recovery store, empty the tables, make the topics of the results anew; how many rows were deleted.

    The store goes first. So whatever ends this half-way, what is left is a new store on old results, which another
    `reset` mends, never an old store that takes new results for its own. Raises ChillFlowError: RecoveryError if an
    `assemble` runs.
    """
    log = open_log(settings)
    partitions = log.partitions(settings.topic)
    names = [spec.name for spec in results(settings)]
    replicas = max([settings.replication_factor, *(_replicas(log, name) for name in names)])
    database = open_database(settings) if settings.database_url else None
    if database is not None:
        database.check()
    with last_hold(settings.recovery_dir):
        log.fence(pipeline_name(settings), partitions)  # one that runs elsewhere writes nothing more
        remove_store(settings.recovery_dir)
        rows = database.empty() if database is not None else {}
        log.remove_topics(names)
        log.ensure_topics(results(settings), partitions, replicas)
    if database is not None:
        database.close()
    return rows


def _replicas(log: Log, name: str) -> int:
    try:
        return log.describe(name).replicas
    except UnknownTopicError:
        return 0
