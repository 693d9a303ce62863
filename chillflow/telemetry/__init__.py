"""What one run measures and reports: metrics, progress, deliveries, failures, and logs.

Holds: `Telemetry`, one per run, handed to its sources, sinks and servers, so that two runs in one process share
nothing. A leaf: everything reports to it, and it knows none of them.
May import: errors.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from chillflow.errors import ChillFlowError
from chillflow.telemetry.delivery import Deliveries
from chillflow.telemetry.logs import get_logger
from chillflow.telemetry.metrics import Metrics
from chillflow.telemetry.progress import Epochs, Reading
from chillflow.telemetry.reasons import kind_of_reason

__all__ = ["Telemetry"]

_NUMBERS = ("partition", "offset")


class Letter(Protocol):
    """A dead letter, as far as it is counted: the original's key, and headers with its stage and reason."""

    @property
    def key(self) -> bytes | None:
        """Message key."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Message headers; the last value of a name counts."""


class Telemetry:
    """The metrics of one run, and what else is known of it."""

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.metrics = Metrics()
        self.epochs = Epochs(self.metrics, clock)
        self.deliveries = Deliveries(self.metrics, monotonic)
        self.failures: list[ChillFlowError] = []
        """Errors that came out of sources and sinks, the first of them first."""
        self._readings: dict[int, Reading] = {}
        self._event_counts: Sequence[int] = ()
        self._event_types: Sequence[str] = ()
        self._events_shown: list[int] = []
        self._account_shown = 0
        """Events of the account that was shown last."""
        self._warned: set[tuple[str, str]] = set()

    def opened(self, number: int, position: int, stream_time: int) -> Reading:
        """A partition is read in this process from now on."""
        reading = self._readings[number] = Reading(self.metrics, self.epochs, number, position, stream_time)
        return reading

    @property
    def readings(self) -> list[Reading]:
        """The partitions that this process reads, by number."""
        return [self._readings[number] for number in sorted(self._readings)]

    def follow_events(self, types: Sequence[str], counts: Sequence[int]) -> None:
        """Report `counts`, the events decoded so far by type; the assembly keeps counting in this list."""
        self._event_types, self._event_counts = types, counts
        self._events_shown = [0] * len(types)
        for event_type in types:  # a series that appears with a value is no increase to Prometheus
            self.metrics.events.labels(event_type)

    def publish_events(self) -> None:
        """Set the metric of events by type to what is counted."""
        with self.metrics.lock:
            for kind, count in enumerate(self._event_counts):
                self.metrics.events.labels(self._event_types[kind]).inc(count - self._events_shown[kind])
                self._events_shown[kind] = count

    def publish_account(self, account: Mapping[str, int], difference: int) -> None:
        """Show an account, all its terms at once, and by how many events it does not balance.

        It must be that of the last durable epoch, never a later one. The account file is written in the snapshot of
        its sink, so in between it is of an epoch that may not become durable. When a source reads on after a snapshot,
        that epoch is durable on all workers; and the next cannot end anywhere before this source has ended it too. So
        at that moment, and in any process, the file is of the last durable epoch. A resumed run begins by writing it
        anew from the recovery store (`AccountFile`). Of the sources only that of the first partition looks: N workers
        would show N times the events.
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

    def dead_letters(self, letters: Iterable[Letter]) -> None:
        """Count these dead letters, and warn of the first of each kind."""
        alike: defaultdict[tuple[str, str], list[dict[str, bytes | None]]] = defaultdict(list)
        for letter in letters:
            said = {**dict(letter.headers), "trip_key": letter.key}  # of headers given twice the last, ours, counts
            stage = _text(said["stage"])
            alike[stage, kind_of_reason(stage, _text(said["reason"]))].append(said)
        for (stage, kind), found in alike.items():
            self.metrics.dead_letters.labels(stage, kind).inc(len(found))
            first = {name: _text(found[0].get(name)) for name in ("reason", "trip_key", "topic", *_NUMBERS)}
            shown = {name: int(text) if name in _NUMBERS else text for name, text in first.items() if text}
            get_logger().warning(f"dead letter ({stage}, {kind})", count=len(found), **shown)

    def warn_once(self, what: str, warning: str, *, topic: str, partition: int) -> None:
        """Warn of what is wrong with a topic, once whatever the number of its partitions."""
        if (topic, what) not in self._warned:
            self._warned.add((topic, what))
            get_logger().warning(warning, topic=topic, partition=partition)

    def delivery_error_in_topics(self) -> None:
        """An error while writing to a topic, which may be tried again."""
        self.metrics.delivery_errors.labels("topics").inc()

    def delivery_error_in_table(self) -> None:
        """An error while writing to the database, which is tried again."""
        self.metrics.delivery_errors.labels("table").inc()


def _text(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")
