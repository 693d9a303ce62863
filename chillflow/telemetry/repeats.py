"""A handler of log records that shows a warning once a minute and counts those that are like it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, MutableMapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

__all__ = ["CountingHandler", "add_repeated"]

_SECONDS = 60.0


@dataclass
class _Shown:
    since: float
    count: int = 0
    last: logging.LogRecord | None = None


class CountingHandler(logging.StreamHandler[Any]):
    """Shows the first of the warnings and errors that are alike.

    The next after a minute says by `repeated` how many were not shown, or if there is none, the last that was not.
    """

    def __init__(self, stream: Any, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._shown: dict[tuple[str, str], _Shown] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Show the record, or count it."""
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
        """Say now what has not been said yet."""
        with self.lock or nullcontext():
            self._report(float("inf"))

    def close(self) -> None:
        """Say it at the latest when the process ends."""
        self.report()
        super().close()

    def _report(self, until: float) -> None:
        """Of those that were first shown before this, show the last, and forget them."""
        for kind in [kind for kind, shown in self._shown.items() if shown.since <= until]:
            shown = self._shown.pop(kind)
            if shown.last is not None:
                shown.last.repeated = shown.count
                super().emit(shown.last)


def _kind(record: logging.LogRecord) -> tuple[str, str]:
    """What two records that are alike share: the event of a structured one; of others the text without its numbers."""
    if isinstance(record.msg, dict):
        return record.name, str(record.msg.get("event"))
    return record.name, re.sub(r"\d+", "#", record.getMessage())


def add_repeated(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog that takes over the count."""
    if repeated := getattr(event["_record"], "repeated", 0):
        event["repeated"] = repeated
    return event
