"""How the sinks of this process fare: told by them, asked by the threads that serve it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from chillflow.monitoring.metrics import DELIVERY_ERRORS, SINK_RECORDS, SINK_SECONDS

__all__ = ["Sink", "delivering", "problem"]

Sink = Literal["topics", "table"]

_PATIENCE = 10.0
"""A transaction that takes longer is stuck: one takes some milliseconds, a large one some seconds."""
_lock = threading.Lock()
_under_way: dict[object, tuple[Sink, float]] = {}
_failed: dict[Sink, str] = {}


@contextmanager
def delivering(sink: Sink, records: int) -> Iterator[None]:
    """Around a transaction of so many records, from waiting for their delivery to its commit."""
    this, start = object(), time.monotonic()
    with _lock:
        _under_way[this] = sink, start
    try:
        yield
    except Exception as error:
        DELIVERY_ERRORS.labels(sink).inc()
        _failed[sink] = str(error)
        raise
    finally:
        with _lock:
            del _under_way[this]
    _failed.pop(sink, None)
    if records:
        SINK_SECONDS.labels(sink).observe(time.monotonic() - start)
        SINK_RECORDS.labels(sink).observe(records)


def problem() -> str | None:
    """What is wrong with the last delivery, if anything is."""
    with _lock:
        oldest = min(_under_way.values(), key=lambda each: each[1], default=None)
    for sink, error in [*_failed.items()]:
        return f"{sink}: {error}"
    if oldest is not None and (seconds := time.monotonic() - oldest[1]) > _PATIENCE:
        return f"{oldest[0]}: under way for {seconds:.0f} s"
    return None
