"""The telemetry of one run: its sources and sinks report to it, its endpoints read it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from chillflow.errors import ChillFlowError
from chillflow.telemetry.clocks import Clocks
from chillflow.telemetry.delivery import Deliveries, SinkName
from chillflow.telemetry.logs import get_logger
from chillflow.telemetry.metrics import Metrics
from chillflow.telemetry.progress import Epochs, Reading
from chillflow.telemetry.reasons import kind_of_reason

__all__ = ["Telemetry"]

_NUMBERS = ("partition", "offset")


class Letter(Protocol):
    """A dead letter as counted: the original's key, and headers with stage and reason."""

    @property
    def key(self) -> bytes | None:
        """Message key."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Message headers; the last value of a name counts."""


class Telemetry:
    """Metrics, progress, deliveries and failures of one run."""

    def __init__(self, clocks: Clocks = Clocks()) -> None:
        self.metrics = Metrics()
        self.epochs = Epochs(self.metrics, clocks)
        self.deliveries = Deliveries(self.metrics, clocks)
        self.failures: list[ChillFlowError] = []
        """Errors raised by sources and sinks, in order."""
        self._readings: dict[int, Reading] = {}
        self.decoded: Counter[object] = Counter()
        """By class of event, the number decoded so far."""
        self._event_types: Mapping[object, str] = {}
        self._events_shown: Counter[object] = Counter()
        self._account_shown = 0
        """Events read, in the account published last."""
        self.late_share: float | None = None
        """The late share published last."""
        self._warned: set[tuple[str, str]] = set()

    def opened(self, number: int, position: int, watermark: int) -> Reading:
        """Register a partition that this process reads from now on. Returns its progress."""
        reading = self._readings[number] = Reading(self.metrics, self.epochs, number, position, watermark)
        return reading

    @property
    def readings(self) -> list[Reading]:
        """The progress of the partitions that this process reads, in order."""
        return [self._readings[number] for number in sorted(self._readings)]

    def expect_events(self, types: Mapping[object, str]) -> None:
        """Publish the numbers of decoded events of these classes, by their types."""
        self._event_types = types
        for event_type in types.values():  # Prometheus sees no increase in a series that appears with a value
            self.metrics.events.labels(event_type)

    def publish_events(self) -> None:
        """Bring the metric of events by type up to date."""
        with self.metrics.lock:
            for cls, event_type in self._event_types.items():
                count = self.decoded[cls]
                self.metrics.events.labels(event_type).inc(count - self._events_shown[cls])
                self._events_shown[cls] = count

    def publish_account(self, account: Mapping[str, int], difference: int, late_share: float | None) -> None:
        """Publish the account of the last durable epoch, the events by which it does not balance, and the late share.

        The account file is written when its sink is snapshotted, before that epoch is durable. It may be read when a
        source reads on after a snapshot: then the epoch is durable on all workers, and none of them can end the next
        one before this source does. A resumed run first rewrites the file from the recovery store (`AccountFile`). Only
        the source of the first partition publishes: N workers would show N times the events.
        """
        metrics = self.metrics
        with metrics.lock:
            metrics.account_read.inc(max(0, account["events"] - self._account_shown))
            self._account_shown = account["events"]
            for name, count in account.items():
                if name.endswith("_trips"):
                    metrics.account_trips.labels(name.removesuffix("_trips")).set(count)
                elif name != "events":
                    metrics.account_events.labels(name.removeprefix("events_in_")).set(count)
            metrics.account_difference.set(difference)
            metrics.show(metrics.account_read, metrics.account_difference)
            self.late_share = late_share
            if late_share is not None:
                metrics.late_share.set(late_share)
                metrics.show(metrics.late_share)

    def dead_letters(self, letters: Iterable[Letter]) -> None:
        """Count dead letters by stage and kind of reason, and warn with the first of each kind."""
        alike: defaultdict[tuple[str, str], list[dict[str, bytes | None]]] = defaultdict(list)
        for letter in letters:
            fields = {**dict(letter.headers), "trip_key": letter.key}  # of repeated headers the last, ours, counts
            stage = _text(fields["stage"])
            alike[stage, kind_of_reason(stage, _text(fields["reason"]))].append(fields)
        for (stage, kind), found in alike.items():
            self.metrics.dead_letters.labels(stage, kind).inc(len(found))
            first = {name: _text(found[0].get(name)) for name in ("reason", "trip_key", "topic", *_NUMBERS)}
            shown = {name: int(text) if name in _NUMBERS else text for name, text in first.items() if text}
            get_logger().warning(f"dead letter ({stage}, {kind})", count=len(found), **shown)

    def warn_once(self, kind: str, warning: str, *, topic: str, partition: int) -> None:
        """Log a warning about a topic, once per topic and kind of warning, not per partition."""
        if (topic, kind) not in self._warned:
            self._warned.add((topic, kind))
            get_logger().warning(warning, topic=topic, partition=partition)

    def delivery_error(self, sink: SinkName) -> None:
        """Count an error while writing that may be retried."""
        self.metrics.delivery_errors.labels(sink).inc()


def _text(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")
