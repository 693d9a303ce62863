"""Logs of topics and databases of trips, and the Bytewax sources and sinks on them. Addresses choose the system.

Holds: one file per system behind the protocols `Log` and `Database`. A client library is imported when an address
needs it, and its errors are raised as ours. Only the functions here take Settings.
May import: errors, settings, telemetry, keyed, model.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

from chillflow.connectors.database import Database, Reader
from chillflow.connectors.log import Log
from chillflow.errors import SettingsError
from chillflow.model.topics import registry
from chillflow.settings import Settings
from chillflow.telemetry import Telemetry

__all__ = ["ensure_topics", "open_database", "open_log", "open_reader"]

_READ_TIMEOUT = timedelta(seconds=5)
"""For a reader to connect, and for each of its statements."""


def open_log(settings: Settings, telemetry: Telemetry | None = None) -> Log:
    """The log at `KAFKA_BOOTSTRAP_SERVERS`: Kafka, or `file:DIR`. Connects at the first use.

    Errors while writing are counted in `telemetry`.
    """
    address = settings.kafka_bootstrap_servers
    if address.startswith("file:"):
        from chillflow.connectors.filelog import FileLog

        return FileLog(Path(address.removeprefix("file:")))
    from chillflow.connectors.kafka import KafkaLog

    on_error = partial(telemetry.delivery_error, "topics") if telemetry else _ignored
    return KafkaLog(address, settings.kafka_properties, settings.kafka_timeout, settings.outage_limit, on_error)


def ensure_topics(log: Log, settings: Settings, *results: str) -> int:
    """Create the topic of the events and the topics `results` where missing; returns the number of partitions.

    Topics of results get as many partitions as the topic of the events has, whatever the setting. With
    `create_topics` off nothing is created. Raises UnknownTopicError without a topic of the events.
    """
    specs = registry(settings)
    if settings.create_topics:
        log.ensure_topics([specs[settings.topic]], settings.partitions, settings.replication_factor)
    partitions = log.partitions(settings.topic)
    if settings.create_topics:
        log.ensure_topics([specs[name] for name in results], partitions, settings.replication_factor)
    return partitions


def open_database(settings: Settings, telemetry: Telemetry | None = None) -> Database:
    """The database at `DATABASE_URL`: Postgres, or `sqlite:///FILE`. Connects at the first use.

    Errors while writing that are retried are counted in `telemetry`.
    """
    address = _database_address(settings.database_url)
    if isinstance(address, Path):
        from chillflow.connectors.sqlite import SqliteDatabase

        return SqliteDatabase(address, settings.kafka_timeout)
    from chillflow.connectors.postgres import PostgresDatabase

    on_error = partial(telemetry.delivery_error, "table") if telemetry else _ignored
    return PostgresDatabase(address, settings.kafka_timeout, settings.outage_limit, on_error)


def open_reader(settings: Settings) -> Reader:
    """A read-only session on the database at `DATABASE_URL`. Connects at the first use."""
    address = _database_address(settings.database_url)
    if isinstance(address, Path):
        from chillflow.connectors.sqlite import SqliteReader

        return SqliteReader(address, _READ_TIMEOUT)
    from chillflow.connectors.postgres import PostgresReader

    return PostgresReader(address, _READ_TIMEOUT)


def _database_address(url: str | None) -> Path | str:
    """The file of SQLite or the URL of Postgres in `DATABASE_URL`. Raises SettingsError if it is neither."""
    if not url:
        raise SettingsError("no database: set DATABASE_URL (postgresql://… or sqlite:///FILE)")
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///"))
    if url.startswith(("postgresql://", "postgres://")):
        return url
    scheme, there, _ = url.partition("://")
    what = f"unknown scheme {scheme!r}" if there else "no scheme"  # without one, all of it may be a secret
    raise SettingsError(f"DATABASE_URL: {what}: expected postgresql://… or sqlite:///FILE")


def _ignored() -> None:
    """Outside a run errors are not counted."""
