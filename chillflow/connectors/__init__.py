"""Addresses -> logs and databases: the one place that knows schemes. Clients are imported only when needed."""

from __future__ import annotations

from pathlib import Path

from chillflow.connectors.log import Log
from chillflow.connectors.tables import Database
from chillflow.errors import SettingsError
from chillflow.settings import Settings

__all__ = ["open_database", "open_log"]


def open_log(settings: Settings) -> Log:
    """The log at `KAFKA_BOOTSTRAP_SERVERS`: Kafka, or `file:DIR`. Connects at the first use."""
    address = settings.kafka_bootstrap_servers
    if address.startswith("file:"):
        from chillflow.connectors.filelog import FileLog

        return FileLog(Path(address.removeprefix("file:")))
    from chillflow.connectors.kafka import KafkaLog

    return KafkaLog(address, settings.kafka_properties, settings.kafka_timeout)


def open_database(settings: Settings) -> Database:
    """The database at `DATABASE_URL`: Postgres, or `sqlite:///FILE`. Connects at the first use."""
    url = settings.database_url
    if not url:
        raise SettingsError("no database: set DATABASE_URL (postgresql://… or sqlite:///FILE)")
    if url.startswith("sqlite:///"):
        from chillflow.connectors.sqlite import SqliteDatabase

        return SqliteDatabase(Path(url.removeprefix("sqlite:///")), settings.kafka_timeout)
    if url.startswith(("postgresql://", "postgres://")):
        from chillflow.connectors.postgres import PostgresDatabase

        return PostgresDatabase(url, settings.kafka_timeout)
    raise SettingsError(f"DATABASE_URL: unknown scheme {url.split(':', 1)[0]!r}: postgresql://… or sqlite:///FILE")
