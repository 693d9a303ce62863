"""Logs on stderr, as text or JSON. stdout is for data."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

from chillflow.telemetry.repeats import CountingHandler, add_repeated

__all__ = ["configure", "get_logger", "report_repeats"]


def configure(level: str, form: Literal["text", "json"]) -> None:
    """Send the records of structlog and the standard library to stderr in one format."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    handler = CountingHandler(_Stderr())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[add_repeated, structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def report_repeats() -> None:
    """Log the warnings held back so far: called before the error that ends a command, which should be the last line."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, CountingHandler):
            handler.report()


class _Stderr:
    """`sys.stderr` at the time a line is written: `tuned_process` replaces it during a run."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def get_logger(name: str = "chillflow") -> structlog.stdlib.BoundLogger:
    """The structlog logger of this name."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
