"""The values a run takes from the settings: the identity of its pipeline, and what its endpoints serve and probe."""

from __future__ import annotations

from datetime import timedelta

from chillflow.connectors import open_database, open_log
from chillflow.running.process_endpoints import Monitoring
from chillflow.running.recovery import PipelineIdentity
from chillflow.settings import Settings

__all__ = ["monitoring", "pipeline_identity"]

_TIMEOUT = timedelta(seconds=2)


def pipeline_identity(settings: Settings, partitions: int, topic_id: str | None = None) -> PipelineIdentity:
    """The identity of the pipeline of these settings, on an events topic with so many partitions."""
    return PipelineIdentity(
        topic=settings.topic,
        partitions=partitions,
        key_groups=settings.key_groups,
        stream_time_rank=settings.stream_time_rank,
        windows=[length // timedelta(minutes=1) for length in settings.window_lengths],
        topic_id=topic_id,
    )


def monitoring(settings: Settings, *, host: str | None = None, port: int | None = None) -> Monitoring:
    """What a process serves, at the address of the settings unless given.

    Health probes use clients of their own, with a timeout of 2 s: those of sources and sinks are in other threads.
    """
    short = settings.model_copy(update={"kafka_timeout": _TIMEOUT, "outage_limit": _TIMEOUT})
    log = open_log(short)

    def check_database() -> None:
        """Over a new connection each time: a kept one may have been cut silently."""
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
