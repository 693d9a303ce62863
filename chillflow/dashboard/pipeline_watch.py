"""How the pipeline is: what `chillflow-stream status` sees, seen again every two seconds and kept for some minutes."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from chillflow.assembly.account import difference, read_account
from chillflow.connectors import open_log
from chillflow.errors import ChillFlowError
from chillflow.model.topics import TopicNames
from chillflow.operation import run_status
from chillflow.running import run_record
from chillflow.running.probe import Probe
from chillflow.running.recovery import ACCOUNT_FILE
from chillflow.settings import Settings
from chillflow.telemetry.reasons import kind_of_reason

__all__ = ["Letters", "PipelineHealth", "Watch"]

_EVERY_SECONDS = 2.0
_MINUTES = 5
_LETTERS = 500
"""The newest dead letters of each partition, whose reasons are counted."""
_LETTERS_EVERY = 10.0


class Letters(NamedTuple):
    """Dead letters that are alike."""

    stage: str
    kind: str
    number: int
    example: str
    """The reason of the newest."""


class PipelineHealth(NamedTuple):
    """What is known of the pipeline at a moment. What is not known is None."""

    running: bool
    ready: bool
    problems: list[str]
    """Why it is not ready, or not running."""
    since: datetime | None
    """When the oldest process of the run started."""
    account: Mapping[str, int] | None
    """By the names of the account; of a pipeline that does not run it is the last durable one."""
    lag_offsets: int | None
    lag_seconds: float | None
    """Event time."""
    rates: list[tuple[float, float]]
    """Events a second read in the last minutes: seconds before now, rate."""

    @property
    def difference(self) -> int | None:
        """Events unaccounted for."""
        return None if self.account is None else difference(self.account)


class Watch:
    """Looks at the pipeline of the settings, or at the one served at `url`, from a thread of its own."""

    def __init__(self, settings: Settings, url: str | None = None) -> None:
        self._settings = settings
        self._url = url
        self._rates: deque[tuple[float, float]] = deque(maxlen=int(_MINUTES * 60 / _EVERY_SECONDS))
        self._before: tuple[str, float, run_status.Samples] | None = None
        self._stopped = threading.Event()
        self._letters = Probe(self._ask_for_letters, rest=_LETTERS_EVERY, patience=5.0)
        self.health = PipelineHealth(False, False, ["not looked at yet"], None, None, None, None, [])

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._work, daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def letters(self) -> list[Letters]:
        """The newest dead letters by kind of reason, the most first. Raises ChillFlowError."""
        return self._letters.answer()

    def _work(self) -> None:
        while not self._stopped.is_set():
            self.health = self._look()
            self._stopped.wait(_EVERY_SECONDS)

    def _look(self) -> PipelineHealth:
        try:
            url = (self._url or run_status.find(self._settings.recovery_dir)).rstrip("/")
            samples, now = run_status.sample(url), time.monotonic()
            _, then, before = self._before if self._before and self._before[0] == url else (url, 0.0, samples)
            seen = run_status.describe(url, before, samples, max(now - then, 0.001))
        except ChillFlowError as error:
            self._before = None
            return self._down(str(error))
        if before is not samples:
            self._rates.append((now, seen["events_per_second"]))
        self._before = url, now, samples
        return PipelineHealth(
            running=True,
            ready=seen["ready"],
            problems=seen["problems"],
            since=None if seen["since"] is None else datetime.fromtimestamp(seen["since"], UTC),
            account=_account(seen) if seen["trips"] else None,
            lag_offsets=_known(sum, [each["lag_offsets"] for each in seen["partitions"]]),
            lag_seconds=_known(max, [each["lag_seconds"] for each in seen["partitions"]]),
            rates=self._recent(now),
        )

    def _down(self, reason: str) -> PipelineHealth:
        kept = read_account(self._settings.recovery_dir / ACCOUNT_FILE) if self._url is None else None
        last = run_record.read(self._settings.recovery_dir / run_record.FILE).last_error
        ended = last.at if last is not None and self._url is None else None
        account = kept if kept and kept["events"] else None
        return PipelineHealth(False, False, [reason], ended, account, None, None, self._recent(time.monotonic()))

    def _recent(self, now: float) -> list[tuple[float, float]]:
        return [(at - now, rate) for at, rate in self._rates if now - at <= _MINUTES * 60]

    def _ask_for_letters(self) -> list[Letters]:
        log, topic = open_log(self._settings), TopicNames.of(self._settings).dead_letters
        counts, newest = Counter[tuple[str, str]](), dict[tuple[str, str], str]()
        for partition in range(log.partitions(topic)):
            for letter in log.newest(topic, partition, _LETTERS):
                said = {name: data.decode(errors="replace") for name, data in letter.headers or ()}
                stage, reason = said.get("stage", "?"), said.get("reason", "?")
                if stage != "replayed":
                    counts[stage, kind_of_reason(stage, reason)] += 1
                    newest[stage, kind_of_reason(stage, reason)] = reason
        return [Letters(*alike, count, newest[alike]) for alike, count in counts.most_common()]


def _account(seen: Mapping[str, Any]) -> dict[str, int]:
    """What the metrics of the account say, by the names that the account has."""
    events = {(f"events_in_{name}" if name in seen["trips"] else name): n for name, n in seen["events"].items()}
    return {"events": seen["read"], **events, **{f"{name}_trips": n for name, n in seen["trips"].items()}}


def _known(add: Any, values: list[Any]) -> Any:
    return add(values) if values and None not in values else None
