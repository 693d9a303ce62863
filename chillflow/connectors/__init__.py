"""Logs of topics, databases of trips, and the Bytewax sources and sinks on them. An address selects the system.

Holds: one module per system behind the protocols `Log` and `Database`. A client library is imported when an address
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
"""Limit of a reader for connecting and for each statement."""


def open_log(settings: Settings, telemetry: Telemetry | None = None) -> Log:
    """The log at `KAFKA_BOOTSTRAP_SERVERS`: Kafka, or `file:DIR`. Connects at the first use.

    Errors while writing are counted in `telemetry`.
    """
    address = settings.kafka_bootstrap_servers
    if address.startswith("file:"):
        from chillflow.connectors.filelog import FileLog

        return FileLog(Path(address.removeprefix("file:")))
    from chillflow.connectors.kafka import KafkaLog

    on_error = partial(telemetry.delivery_error, "topics") if telemetry else lambda: None
    return KafkaLog(address, settings.kafka_properties, settings.kafka_timeout, settings.outage_limit, on_error)


def ensure_topics(log: Log, settings: Settings, *results: str) -> int:
    """Create the events topic and the topics `results` if missing; returns the number of partitions.

    Result topics get as many partitions as the events topic has, regardless of the setting. With `create_topics` off
    nothing is created. Raises UnknownTopicError if the events topic does not exist.
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

    on_error = partial(telemetry.delivery_error, "table") if telemetry else lambda: None
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
    """The SQLite file or the Postgres URL in `DATABASE_URL`. Raises SettingsError if it is neither."""
    if not url:
        raise SettingsError("no database: set DATABASE_URL (postgresql://… or sqlite:///FILE)")
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///"))
    if url.startswith(("postgresql://", "postgres://")):
        return url
    scheme, separator, _ = url.partition("://")
    problem = f"unknown scheme {scheme!r}" if separator else "no scheme"  # the text itself may be a password
    raise SettingsError(f"DATABASE_URL: {problem}: expected postgresql://… or sqlite:///FILE")
