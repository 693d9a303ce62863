"""Rate-limited warnings: a log handler that shows each kind once a minute and counts the repeats."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

from structlog.typing import EventDict, WrappedLogger

__all__ = ["CountingHandler", "add_repeated"]

_SECONDS = 60.0


@dataclass
class _Shown:
    since: float
    count: int = 0
    last: logging.LogRecord | None = None


class _Stream(Protocol):
    """A stream of log lines."""

    def write(self, text: str, /) -> object:
        """Write a line."""

    def flush(self) -> None:
        """Flush what was written."""


class CountingHandler(logging.StreamHandler[_Stream]):
    """Shows warnings and errors of one kind at most once a minute.

    The next one shown has the number of those held back as `repeated`. If no other follows, the last one held back is
    shown with it.
    """

    def __init__(self, stream: _Stream, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._shown: dict[tuple[str, str], _Shown] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Show the record, or hold it back and count it."""
        if record.levelno >= logging.WARNING:
            now, kind = self._clock(), _kind(record)
            before = self._shown.get(kind)
            if before is not None and now - before.since < _SECONDS:
                before.count, before.last = before.count + 1, record
                return
            record.repeated = before.count if before is not None else 0
            self._shown[kind] = _Shown(now)
            self._report(now - _SECONDS)
        super().emit(record)

    def report(self) -> None:
        """Show the last held-back record of each kind now."""
        with self.lock or nullcontext():
            self._report(float("inf"))

    def close(self) -> None:
        """Show what was held back, at the latest when the process ends."""
        self.report()
        super().close()

    def _report(self, until: float) -> None:
        """Show the last held-back record of each kind that was shown until then, and drop these kinds."""
        for kind in [kind for kind, shown in self._shown.items() if shown.since <= until]:
            shown = self._shown.pop(kind)
            if shown.last is not None:
                shown.last.repeated = shown.count
                super().emit(shown.last)


def _kind(record: logging.LogRecord) -> tuple[str, str]:
    """Logger and event of a structured record; logger and text without its numbers of any other."""
    if isinstance(record.msg, dict):
        return record.name, str(record.msg.get("event"))
    return record.name, re.sub(r"\d+", "#", record.getMessage())


def add_repeated(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """A structlog processor that copies `repeated` from the record."""
    if repeated := getattr(event["_record"], "repeated", 0):
        event["repeated"] = repeated
    return event
