"""Events by type: counted by the assembly itself, where the type is known, and taken over when asked for."""

from __future__ import annotations

from collections.abc import Sequence

from chillflow.events import EVENT_TYPES
from chillflow.monitoring.metrics import EVENTS, LOCK

__all__ = ["follow", "publish"]

_counts: Sequence[int] = ()
_shown = [0] * len(EVENT_TYPES)


def follow(counts: Sequence[int]) -> None:
    """Events of each type taken in so far; somebody else goes on counting in this list."""
    global _counts
    _counts = counts
    _shown[:] = [0] * len(_shown)


def publish() -> None:
    """Set the metric to what is counted."""
    with LOCK:
        for kind, count in enumerate(_counts):
            EVENTS.labels(EVENT_TYPES[kind]).inc(count - _shown[kind])
            _shown[kind] = count
