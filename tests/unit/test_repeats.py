"""A warning is shown once a minute, and the others like it are counted."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from chillflow.telemetry.repeats import CountingHandler


class _WithCount(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{record.getMessage()} +{getattr(record, 'repeated', 0)}"


@dataclass
class Log:
    """A logger with a handler of its own, and a clock that is set by hand."""

    now: float = 0.0
    stream: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.handler = CountingHandler(self.stream, lambda: self.now)
        self.handler.setFormatter(_WithCount())

    def __call__(self, message: object, *arguments: object, level: int = logging.WARNING, name: str = "a") -> None:
        record = logging.LogRecord(name, level, "", 0, message, arguments, None)
        self.handler.handle(record)

    @property
    def shown(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def log() -> Log:
    return Log()


def test_numbers_do_not_make_another_warning(log: Log) -> None:
    for pause in (1, 2, 3):
        log("trying again in %d s", pause)
    log("something else")
    assert log.shown == ["trying again in 1 s +0", "something else +0"]


def test_after_a_minute_it_is_shown_again_with_their_number(log: Log) -> None:
    for log.now in range(0, 125, 1):
        log("away")
    assert log.shown == ["away +0", "away +59", "away +59"]


@pytest.mark.parametrize("end", [lambda log: log.handler.close(), lambda log: log("another")])
def test_the_last_are_not_forgotten(log: Log, end: Callable[[Log], None]) -> None:
    for number in range(4):
        log("away %d", number)
    log.now = 100
    end(log)
    assert log.shown[:2] == ["away 0 +0", "away 3 +3"]


def test_a_structured_warning_is_known_by_its_event(log: Log) -> None:
    for partition in range(3):
        log({"event": "cannot read", "partition": partition})
    assert len(log.shown) == 1


def test_another_logger_and_what_is_no_warning_are_left_alone(log: Log) -> None:
    for _ in range(2):
        log("away", level=logging.INFO)
        log("away")
        log("away", name="b", level=logging.ERROR)
    assert log.shown == ["away +0"] * 4
