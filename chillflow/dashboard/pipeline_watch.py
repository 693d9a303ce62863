"""Health of the pipeline: what `chillflow-stream status` reports, polled every two seconds."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from chillflow.assembly.account import difference, read_account
from chillflow.connectors.account_file import read_late_share
from chillflow.connectors.log import Log
from chillflow.errors import ChillFlowError
from chillflow.operation import run_status
from chillflow.running.probe import Probe
from chillflow.running.recovery import ACCOUNT_FILE
from chillflow.telemetry.reasons import kind_of_reason

__all__ = ["NEWEST_LETTERS", "RATE_MINUTES", "PipelineHealth", "PipelineWatch"]

RATE_MINUTES = 5
"""Length of the throughput curve."""
NEWEST_LETTERS = 500
"""Dead letters of each partition whose reasons are counted."""

T = TypeVar("T")
_POLL_SECONDS = 2.0
_LETTERS_POLL_SECONDS = 10.0


class DeadLetterKind(NamedTuple):
    """Dead letters of one stage and kind of reason."""

    stage: str
    kind: str
    total: int
    example: str
    """Reason of the newest one."""


class PipelineHealth(NamedTuple):
    """The pipeline at one time. None where a value is unknown."""

    running: bool
    ready: bool
    problems: list[str]
    """Why the pipeline is not ready, or not running."""
    since: datetime | None
    """Start of the oldest process of the run."""
    account: Mapping[str, int] | None
    """Counts by term; of the last durable epoch if the pipeline does not run."""
    late_share: float | None
    """Share of late events among the newest, 0 to 1."""
    lag_offsets: int | None
    lag_seconds: float | None
    """Event time."""
    rates: list[tuple[float, float]]
    """Events read per second: (seconds relative to now, rate)."""

    @property
    def difference(self) -> int | None:
        """Events unaccounted for."""
        return None if self.account is None else difference(self.account)


class PipelineWatch:
    """Polls the pipeline of a recovery directory, or the one served at `url`, in the background."""

    def __init__(self, recovery_dir: Path, dlq_topic: str, open_log: Callable[[], Log], url: str | None = None) -> None:
        self._recovery_dir = recovery_dir
        self._dlq_topic = dlq_topic
        self._open_log = open_log
        self._url = url
        self._rates: deque[tuple[float, float]] = deque(maxlen=int(RATE_MINUTES * 60 / _POLL_SECONDS))
        self._previous: tuple[str, float, run_status.Samples] | None = None
        """Address, monotonic time and samples of the last poll."""
        self._stopped = threading.Event()
        self._letters = Probe(self._count_letters, interval=_LETTERS_POLL_SECONDS, timeout=5.0)
        self.health = PipelineHealth(False, False, ["not checked yet"], None, None, None, None, None, [])

    def start(self) -> None:
        """Start polling."""
        threading.Thread(target=self._work, daemon=True).start()

    def stop(self) -> None:
        """Stop polling."""
        self._stopped.set()

    def letters(self) -> list[DeadLetterKind]:
        """The newest dead letters by kind, most frequent first. Raises ChillFlowError."""
        return self._letters.answer()

    def _work(self) -> None:
        while not self._stopped.is_set():
            self.health = self._poll()
            self._stopped.wait(_POLL_SECONDS)

    def _poll(self) -> PipelineHealth:
        try:
            url = (self._url or run_status.find(self._recovery_dir)).rstrip("/")
            samples, now = run_status.sample(url), time.monotonic()
            previous = self._previous if self._previous and self._previous[0] == url else None
            _, then, before = previous or (url, 0.0, samples)
            status = run_status.describe(url, before, samples, max(now - then, 0.001))
        except ChillFlowError as error:
            self._previous = None
            return self._down(str(error))
        if previous:
            self._rates.append((now, status["events_per_second"]))
        self._previous = url, now, samples
        lag_offsets: list[int] = _all_known([each["lag_offsets"] for each in status["partitions"]])
        lag_seconds: list[float] = _all_known([each["lag_seconds"] for each in status["partitions"]])
        return PipelineHealth(
            running=True,
            ready=status["ready"],
            problems=status["problems"],
            since=None if status["since"] is None else datetime.fromtimestamp(status["since"], UTC),
            account=_account(status["read"], status["trips"], status["events"]) if status["trips"] else None,
            late_share=status["late_share"],
            lag_offsets=sum(lag_offsets) if lag_offsets else None,
            lag_seconds=max(lag_seconds, default=None),
            rates=self._recent(now),
        )

    def _down(self, reason: str) -> PipelineHealth:
        file = self._recovery_dir / ACCOUNT_FILE if self._url is None else None
        kept, late_share = (read_account(file), read_late_share(file)) if file else (None, None)
        account = kept if kept and kept["events"] else None
        rates = self._recent(time.monotonic())
        return PipelineHealth(False, False, [reason], None, account, late_share, None, None, rates)

    def _recent(self, now: float) -> list[tuple[float, float]]:
        return [(at - now, rate) for at, rate in self._rates if now - at <= RATE_MINUTES * 60]

    def _count_letters(self) -> list[DeadLetterKind]:
        log, topic = self._open_log(), self._dlq_topic
        counts, newest = Counter[tuple[str, str]](), dict[tuple[str, str], str]()
        for partition in range(log.partitions(topic)):
            for letter in log.newest(topic, partition, NEWEST_LETTERS):
                headers = {name: data.decode(errors="replace") for name, data in letter.headers or ()}
                stage, reason = headers.get("stage", "?"), headers.get("reason", "?")
                if stage != "replayed":
                    kind = stage, kind_of_reason(stage, reason)
                    counts[kind] += 1
                    newest[kind] = reason
        return [DeadLetterKind(*each, count, newest[each]) for each, count in counts.most_common()]


def _account(read: int, trips: Mapping[str, int], events: Mapping[str, int]) -> dict[str, int]:
    """The account metrics by the terms of the account."""
    in_trips = {(f"events_in_{name}" if name in trips else name): count for name, count in events.items()}
    return {"events": read, **in_trips, **{f"{name}_trips": count for name, count in trips.items()}}


def _all_known(values: Sequence[T | None]) -> list[T]:
    """The values if all are known; else nothing."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []
