"""Every metric of `assemble`, in one place: docs/metrics.md is made of it (`python docs/make_metrics.py`).

A metric is told something once a batch or once an epoch, never once an event. Each run has its own; the label `worker`
is put on when they are asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from chillflow.telemetry.histogram import BatchHistogram
from chillflow.telemetry.reasons import REASONS

__all__ = ["Described", "Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_RECORDS = tuple(float(10**power * step) for power in range(6) for step in (1, 3))

T = TypeVar("T", Counter, Gauge, Histogram, BatchHistogram)


class Described(NamedTuple):
    """One metric, as its page shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class Metrics:
    """The metrics of one run, in a registry of their own."""

    def __init__(self) -> None:
        self.described: list[Described] = []
        self.registry = CollectorRegistry()
        self.lock = threading.Lock()
        """Held while metrics are collected, and by who sets some that belong together."""
        self._shown: set[Collector] = set()
        ProcessCollector(registry=self.registry)

        # What is read

        self.read = self._metric(
            Counter,
            "chillflow_read_events_total",
            "Messages read from the topic of the events by this process. What is read again after a crash counts"
            " again.",
            "partition",
        )
        self.events = self._metric(
            Counter,
            "chillflow_events_total",
            "Events decoded by this process, by type. What is read again after a crash counts again.",
            "event_type",
        )
        self.in_flight = self._metric(
            Gauge, "chillflow_events_in_flight", "Messages read that are not part of a durable epoch yet.", "partition"
        )
        self.lag_offsets = self._metric(
            Gauge,
            "chillflow_consumer_lag_offsets",
            "From what has been read to the end of the partition, in offsets; on `file:` offsets are bytes."
            " Absent while the broker does not say where the end is.",
            "partition",
        )
        self.lag_seconds = self._metric(
            Gauge,
            "chillflow_consumer_lag_seconds",
            "Event time from the stream time of the partition to its newest message; 0 at the end."
            " Absent while there is no stream time yet.",
            "partition",
        )

        # The account

        self.account_read = self._metric(
            Counter,
            "chillflow_account_read_events_total",
            "Events read in the life of the recovery store, as of the last durable epoch.",
            hidden=True,
        )
        self.account_events = self._metric(
            Gauge,
            "chillflow_account_events",
            "What became of them: events in trips by what the trip is now, and those in none. As of the last durable"
            " epoch.",
            "outcome",
        )
        self.account_trips = self._metric(
            Gauge,
            "chillflow_account_trips",
            "Trips by what they are now: complete, incomplete or open; those complete ones besides that are left out"
            " of the windows. As of the last durable epoch.",
            "state",
        )
        self.account_difference = self._metric(
            Gauge,
            "chillflow_account_difference_events",
            "Events read less events accounted for, as of the last durable epoch. Anything but 0 is a bug.",
            hidden=True,
        )

        # Results

        self.written = self._metric(
            Counter,
            "chillflow_written_messages_total",
            "Messages that stand in a result topic, written by this process. One that stands already is not written"
            " again.",
            "topic",
        )
        self.dead_letters = self._metric(
            Counter,
            "chillflow_dead_letters_total",
            "Dead letters written by this process, by stage and kind of reason; the full reason is in the letter's"
            " header.",
            "stage",
            "reason",
        )
        self.latency = self._metric(
            BatchHistogram,
            "chillflow_trip_latency_seconds",
            "From reading the last event of a trip, or the message that let it time out, to the commit of the"
            " transaction that holds its result.",
            buckets=_SECONDS,
        )
        self.sink_records = self._metric(
            Histogram,
            "chillflow_sink_batch_records",
            "Messages a transaction (sink `topics`) or rows a transaction (sink `table`).",
            "sink",
            buckets=_RECORDS,
        )
        self.sink_seconds = self._metric(
            Histogram,
            "chillflow_sink_write_seconds",
            "How long such a transaction took to be delivered and committed; of `table` it is the time in the"
            " database.",
            "sink",
            buckets=_SECONDS,
        )
        self.delivery_errors = self._metric(
            Counter,
            "chillflow_delivery_errors_total",
            "Errors while delivering: those that were tried again, those that the Kafka client told of, and the last.",
            "sink",
        )

        # Epochs and recovery

        self.epoch_seconds = self._metric(
            Histogram,
            "chillflow_epoch_duration_seconds",
            "From one durable epoch to the next.",
            buckets=_SECONDS,
        )
        self.epoch_commit_seconds = self._metric(
            Histogram,
            "chillflow_epoch_commit_seconds",
            "From the snapshot of the sources to the epoch being durable on all workers. Nothing is read meanwhile.",
            buckets=_SECONDS,
        )
        self.last_epoch = self._metric(
            Gauge,
            "chillflow_last_durable_epoch_timestamp_seconds",
            "When an epoch was last known to be durable, in seconds since 1970.",
            hidden=True,
        )
        self.snapshot_bytes = self._metric(
            Counter,
            "chillflow_snapshot_bytes_total",
            "Bytes of trips and of windows in snapshots, before they are pickled. Those that are kept together with"
            " one that an epoch has touched are written again with it.",
            "of",
        )
        self.store_bytes = self._metric(
            Gauge,
            "chillflow_recovery_store_bytes",
            "Size of the recovery store's files; of worker 0 alone.",
            hidden=True,
        )
        self.starts = self._metric(
            Counter,
            "chillflow_starts_total",
            "Starts of `assemble` on this recovery directory, counted over all of them; of worker 0 alone.",
            hidden=True,
        )

        # Health

        self.worker_up = self._metric(Gauge, "chillflow_worker_up", "1 if the worker has answered, 0 if not.")
        self.check_ok = self._metric(
            Gauge,
            "chillflow_check_ok",
            "1 if the check of /readyz passes: sources, broker, epoch, delivery, database.",
            "check",
        )

        # A series that comes into being with a value of 1 is no increase to Prometheus.
        for stage, reason in REASONS:
            self.dead_letters.labels(stage, reason)
        for sink in ("topics", "table"):
            self.delivery_errors.labels(sink)

    def _metric(self, kind: type[T], name: str, meaning: str, *labels: str, hidden: bool = False, **options: Any) -> T:
        self.described.append(
            Described(name, kind.__name__.removeprefix("Batch").lower(), ("worker", *labels), meaning)
        )
        return kind(name, meaning, labels, registry=None if hidden else self.registry, **options)

    def show(self, *metrics: Collector) -> None:
        """Begin to show metrics without labels of which nothing is known at first, or in one process of a cluster only.

        The client would show them as 0.
        """
        for metric in metrics:
            if metric not in self._shown:
                self._shown.add(metric)
                self.registry.register(metric)

    def families(self, worker: str) -> Iterator[Metric]:
        """All metrics as they are now, with the label `worker`."""
        with self.lock:
            collected = [*self.registry.collect()]
        for family in collected:
            family.samples = [
                sample._replace(labels={"worker": worker, **sample.labels})
                for sample in family.samples
                if not sample.name.endswith("_created")  # Prometheus finds out by itself
            ]
            yield family
