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
    """A text stream."""

    def write(self, text: str, /) -> object:
        """Write text."""

    def flush(self) -> None:
        """Flush the stream."""


class CountingHandler(logging.StreamHandler[_Stream]):
    """Shows warnings and errors of one kind at most once a minute.

    The next one shown has the number of those held back in `repeated`. If none follows, the last one held back is shown
    instead.
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
        """Show what is still held back; `logging` calls this when the process ends."""
        self.report()
        super().close()

    def _report(self, until: float) -> None:
        """Show the last held-back record of each kind first shown by `until`, and drop these kinds."""
        for kind in [kind for kind, shown in self._shown.items() if shown.since <= until]:
            shown = self._shown.pop(kind)
            if shown.last is not None:
                shown.last.repeated = shown.count
                super().emit(shown.last)


def _kind(record: logging.LogRecord) -> tuple[str, str]:
    """The kind of a record: its logger and event, or if it is not structured its logger and text without numbers."""
    if isinstance(record.msg, dict):
        return record.name, str(record.msg.get("event"))
    return record.name, re.sub(r"\d+", "#", record.getMessage())


def add_repeated(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """A structlog processor that copies `repeated` from the record."""
    if repeated := getattr(event["_record"], "repeated", 0):
        event["repeated"] = repeated
    return event
