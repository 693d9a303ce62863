"""Logs of topics and databases of trips, and the Bytewax sources and sinks on them; addresses choose which.

Holds: one file a system behind the protocols `Log` and `Database`. Clients are imported when an address needs them,
and their errors leave as ours.
May import: errors, settings, telemetry, keyed, model.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from chillflow.connectors.database import Database
from chillflow.connectors.log import Log
from chillflow.errors import SettingsError
from chillflow.model.topics import registry
from chillflow.settings import Settings
from chillflow.telemetry import Telemetry

__all__ = ["ensure_topics", "open_database", "open_log"]


def open_log(settings: Settings, telemetry: Telemetry | None = None) -> Log:
    """The log at `KAFKA_BOOTSTRAP_SERVERS`: Kafka, or `file:DIR`. Connects at the first use.

    Errors while writing are counted in the telemetry of the run, where it is one.
    """
    address = settings.kafka_bootstrap_servers
    if address.startswith("file:"):
        from chillflow.connectors.filelog import FileLog

        return FileLog(Path(address.removeprefix("file:")))
    from chillflow.connectors.kafka import KafkaLog

    noted = partial(telemetry.delivery_error, "topics") if telemetry else _ignored
    return KafkaLog(address, settings.kafka_properties, settings.kafka_timeout, settings.outage_limit, noted)


def ensure_topics(log: Log, settings: Settings, *results: str) -> int:
    """Make what is missing of the topic of the events and of these others, unless that is turned off.

    The others get as many partitions as the events have, whatever the setting: that number is given back.
    Raises UnknownTopicError if the topic of the events is not there and not to be made.
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

    Errors while writing that are tried again are counted in the telemetry of the run, where it is one.
    """
    url = settings.database_url
    if not url:
        raise SettingsError("no database: set DATABASE_URL (postgresql://… or sqlite:///FILE)")
    if url.startswith("sqlite:///"):
        from chillflow.connectors.sqlite import SqliteDatabase

        return SqliteDatabase(Path(url.removeprefix("sqlite:///")), settings.kafka_timeout)
    if url.startswith(("postgresql://", "postgres://")):
        from chillflow.connectors.postgres import PostgresDatabase

        noted = partial(telemetry.delivery_error, "table") if telemetry else _ignored
        return PostgresDatabase(url, settings.kafka_timeout, settings.outage_limit, noted)
    scheme, there, _ = url.partition("://")
    what = f"unknown scheme {scheme!r}" if there else "no scheme"  # then all of it may be a secret
    raise SettingsError(f"DATABASE_URL: {what}: expected postgresql://… or sqlite:///FILE")


def _ignored() -> None:
    """Outside a run nobody asks how many errors there were."""
