"""The clocks of a run, injected so that tests control time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Clocks"]


@dataclass(frozen=True)
class Clocks:
    """The wall clock, the monotonic clock and the sleep of this process, unless others are given."""

    wall: Callable[[], float] = time.time
    """Seconds since 1970."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds since any moment: for differences only."""
    sleep: Callable[[float], None] = time.sleep
