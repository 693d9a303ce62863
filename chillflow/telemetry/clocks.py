"""The clocks of a run, injected so that tests control time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Clocks"]


@dataclass(frozen=True)
class Clocks:
    """Wall clock, monotonic clock and sleep; those of this process by default."""

    wall: Callable[[], float] = time.time
    """Seconds since 1970."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds, for differences only."""
    sleep: Callable[[float], None] = time.sleep
