"""The metrics of `assemble`; docs/metrics.md is generated from them (`python docs/make_metrics.py`).

They are updated once per batch or epoch, never per event. The label `worker` is added when they are collected.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from chillflow.telemetry.histogram import BatchHistogram
from chillflow.telemetry.reasons import REASONS

__all__ = ["Described", "Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_RECORDS = tuple(float(10**power * step) for power in range(6) for step in (1, 3))

T = TypeVar("T", Counter, Gauge)
H = TypeVar("H", Histogram, BatchHistogram)


class Described(NamedTuple):
    """A metric as docs/metrics.md shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class Metrics:
    """The metrics of one run, in their own registry."""

    def __init__(self) -> None:
        self.described: list[Described] = []
        self.registry = CollectorRegistry()
        self.lock = threading.Lock()
        """Held while metrics are collected, and while several are set that must agree."""
        self._shown: set[Collector] = set()
        ProcessCollector(registry=self.registry)

        # Reading

        self.read = self._metric(
            Counter,
            "chillflow_read_events_total",
            "Messages this process has read from the events topic. Messages read again after a crash count again.",
            "partition",
        )
        self.events = self._metric(
            Counter,
            "chillflow_events_total",
            "Events this process has decoded, by type. Events read again after a crash count again.",
            "event_type",
        )
        self.in_flight = self._metric(
            Gauge, "chillflow_events_in_flight", "Messages read but not yet part of a durable epoch.", "partition"
        )
        self.lag_offsets = self._metric(
            Gauge,
            "chillflow_consumer_lag_offsets",
            "Lag behind the end of the partition, in offsets; on `file:` offsets are bytes. Absent while the end is"
            " unknown.",
            "partition",
        )
        self.lag_seconds = self._metric(
            Gauge,
            "chillflow_consumer_lag_seconds",
            "Lag in event time: from the partition's watermark to its newest message; 0 at the end. Absent while there"
            " is no watermark yet.",
            "partition",
        )
        self.watermark = self._metric(
            Gauge,
            "chillflow_watermark_timestamp_seconds",
            "The watermark that the partition has reached, in seconds since 1970. Absent before there is one.",
            "partition",
        )
        self.watermark_candidates = self._metric(
            Counter,
            "chillflow_watermark_candidates_total",
            "Events more than a day ahead of the watermark whose clocks were judged to be wrong: they did not move it.",
            "partition",
        )

        # The account

        self.account_read = self._metric(
            Counter,
            "chillflow_account_read_events_total",
            "Events read since the recovery store was created, as of the last durable epoch.",
            hidden=True,
        )
        self.account_events = self._metric(
            Gauge,
            "chillflow_account_events",
            "Events read, by outcome: the current state of their trip, or why they are in no trip. As of the last"
            " durable epoch.",
            "outcome",
        )
        self.account_trips = self._metric(
            Gauge,
            "chillflow_account_trips",
            "Trips by current state: complete, incomplete or open; `left_out` are the complete ones excluded from"
            " windows. As of the last durable epoch.",
            "state",
        )
        self.account_difference = self._metric(
            Gauge,
            "chillflow_account_difference_events",
            "Events read minus events accounted for, as of the last durable epoch. Anything but 0 is a bug.",
            hidden=True,
        )
        self.late_share = self._metric(
            Gauge,
            "chillflow_late_share",
            "Ratio of late events, 0 to 1, among the last 10,000 events or those of the last 5 minutes, whichever are"
            " more, as of the last durable epoch.",
            hidden=True,
        )

        # Results

        self.written = self._metric(
            Counter,
            "chillflow_written_messages_total",
            "Messages this process has written to a result topic. Those already written are skipped and not counted.",
            "topic",
        )
        self.dead_letters = self._metric(
            Counter,
            "chillflow_dead_letters_total",
            "Dead letters this process has written, by stage and kind of reason; the full reason is in the message's"
            " header.",
            "stage",
            "reason",
        )
        self.latency = self._histogram(
            BatchHistogram,
            "chillflow_trip_latency_seconds",
            "From reading the last event of a trip, or the message that made it time out, to the commit of the"
            " transaction with its result.",
        )
        self.sink_records = self._histogram(
            Histogram,
            "chillflow_sink_batch_records",
            "Messages per transaction (sink `topics`) or rows per transaction (sink `table`).",
            "sink",
            buckets=_RECORDS,
        )
        self.sink_seconds = self._histogram(
            Histogram,
            "chillflow_sink_write_seconds",
            "Time to deliver and commit a transaction; for `table`, the time in the database.",
            "sink",
        )
        self.delivery_errors = self._metric(
            Counter,
            "chillflow_delivery_errors_total",
            "Delivery errors: those retried, those reported by the Kafka client, and the one that ended the run.",
            "sink",
        )

        # Epochs and recovery

        self.epoch_seconds = self._histogram(
            Histogram,
            "chillflow_epoch_duration_seconds",
            "From one durable epoch to the next.",
        )
        self.epoch_commit_seconds = self._histogram(
            Histogram,
            "chillflow_epoch_commit_seconds",
            "From the snapshot of the sources until the epoch is durable on all workers. Nothing is read meanwhile.",
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
            "Bytes of trips and of windows in snapshots, before pickling. A changed state is written again together"
            " with all states packed with it.",
            "of",
        )
        self.store_bytes = self._metric(
            Gauge,
            "chillflow_recovery_store_bytes",
            "Size of the recovery store's files; from worker 0 only.",
            hidden=True,
        )
        self.starts = self._metric(
            Counter,
            "chillflow_starts_total",
            "Starts of `assemble` on this recovery directory, across restarts; from worker 0 only.",
            hidden=True,
        )

        # Health

        self.worker_up = self._metric(Gauge, "chillflow_worker_up", "1 if the worker answers, 0 if not.")
        self.check_ok = self._metric(
            Gauge,
            "chillflow_check_ok",
            "1 if the check of /readyz passes: sources, broker, epoch, delivery, database.",
            "check",
        )

        # Prometheus sees no increase in a series that appears with a value.
        for stage, reason in REASONS:
            self.dead_letters.labels(stage, reason)
        for sink in ("topics", "table"):
            self.delivery_errors.labels(sink)

    def _metric(self, kind: type[T], name: str, meaning: str, *labels: str, hidden: bool = False) -> T:
        """A metric; a hidden one is not collected until `show`."""
        self.described.append(Described(name, kind.__name__.lower(), ("worker", *labels), meaning))
        return kind(name, meaning, labels, registry=None if hidden else self.registry)

    def _histogram(
        self, kind: type[H], name: str, meaning: str, *labels: str, buckets: Sequence[float] = _SECONDS
    ) -> H:
        self.described.append(Described(name, "histogram", ("worker", *labels), meaning))
        return kind(name, meaning, labels, registry=self.registry, buckets=buckets)

    def show(self, *metrics: Collector) -> None:
        """Collect these hidden metrics from now on.

        A metric without labels starts at 0, which would be wrong before its value is known, and in processes that
        never set it.
        """
        for metric in metrics:
            if metric not in self._shown:
                self._shown.add(metric)
                self.registry.register(metric)

    def families(self, worker: str) -> Iterator[Metric]:
        """Collect the metrics, with the label `worker`."""
        with self.lock:
            collected = [*self.registry.collect()]
        for family in collected:
            family.samples = [
                sample._replace(labels={"worker": worker, **sample.labels})
                for sample in family.samples
                if not sample.name.endswith("_created")  # Prometheus does not need it
            ]
            yield family
