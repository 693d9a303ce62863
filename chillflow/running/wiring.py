"""From settings to the values of a run: the identity of its pipeline, and its monitoring."""

from __future__ import annotations

from datetime import timedelta

from chillflow.connectors import open_database, open_log
from chillflow.running.process_endpoints import Monitoring
from chillflow.running.recovery import PipelineIdentity
from chillflow.settings import Settings

__all__ = ["monitoring", "pipeline_identity"]

_TIMEOUT = timedelta(seconds=2)


def pipeline_identity(settings: Settings, partitions: int, topic_id: str | None = None) -> PipelineIdentity:
    """The identity of the pipeline, on an events topic with `partitions` partitions."""
    return PipelineIdentity(
        topic=settings.topic,
        partitions=partitions,
        key_groups=settings.key_groups,
        stream_time_rank=settings.stream_time_rank,
        windows=[length // timedelta(minutes=1) for length in settings.window_lengths],
        topic_id=topic_id,
    )


def monitoring(settings: Settings, *, host: str | None = None, port: int | None = None) -> Monitoring:
    """The monitoring of a process, at the address of the settings unless given.

    Health probes use their own clients, with a timeout of 2 s, because those of sources and sinks are in other threads.
    """
    short = settings.model_copy(update={"kafka_timeout": _TIMEOUT, "outage_limit": _TIMEOUT})
    log = open_log(short)

    def check_database() -> None:
        """Use a new connection each time: an old one may have been cut silently."""
        database = open_database(short)
        try:
            database.check()
        finally:
            database.close()

    return Monitoring(
        host=settings.metrics_host if host is None else host,
        port=settings.metrics_port if port is None else port,
        epoch_limit=settings.ready_epoch_limit,
        ends=lambda: log.ends(settings.topic),
        check_database=check_database if settings.database_url else None,
    )
