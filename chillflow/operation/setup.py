"""The jobs of `create-topic` and `init-db`: create the topics and the tables. Both are idempotent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

from chillflow.connectors import open_database, open_log
from chillflow.model.topics import registry
from chillflow.settings import Settings

__all__ = ["EnsuredTopic", "create_topics", "migrate"]


class EnsuredTopic(NamedTuple):
    """A topic that now exists."""

    name: str
    partitions: int
    is_new: bool


def create_topics(settings: Settings, *, with_results: bool) -> Iterator[EnsuredTopic]:
    """Create the events topic, and result topics with as many partitions as it has. Raises KafkaError."""
    specs = registry(settings)
    log = open_log(settings)
    partitions = settings.partitions
    for name in specs if with_results else [settings.topic]:
        created = log.ensure_topics([specs[name]], partitions, settings.replication_factor)
        found = log.partitions(name)
        yield EnsuredTopic(name, found, bool(created))
        if name == settings.topic:
            partitions = found


def migrate(settings: Settings) -> list[str]:
    """Create the tables or bring them up to date. Returns the migrations applied. Raises DatabaseError."""
    with closing(open_database(settings)) as database:
        return database.migrate()
