"""The late share: how many of the newest events were late, and what to do about it. Pure.

Late events change no trip. A few of them are normal. From 1 % on something is wrong, and everything that shows the
share says so in the words of this module.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["CAUSES", "LIMIT", "LateShare", "Totals", "describe", "is_wrong", "warning"]

LIMIT = 0.01
"""Share from which something is wrong."""
CAUSES = (
    "older data was produced into a topic that already had newer data: use another topic, or produce the oldest first",
    "data was produced again after its trips were closed: nothing to do, it changes no trip",
    "message timestamps are not event times: set --event-time body, then `chillflow-stream reset`",
)
"""What makes events late, each with its remedy."""

_EVENTS = 10_000
_SECONDS = 300.0
_STEPS = 100
"""A window of 10,000 events and 5 minutes consists of at most this many steps."""


class Totals(NamedTuple):
    """Counts since the recovery store was created."""

    at: float
    """When they were taken, seconds since 1970."""
    events: int
    late: int


class LateShare:
    """The share of late events in a window: the last 10,000 events or 5 minutes, whichever is longer.

    The window starts at totals that were observed before, so it is up to a step longer: 100 events or 3 s. At the start
    it has all events observed so far.
    """

    def __init__(self, observed: Iterable[Totals]) -> None:
        """Start with the first of these totals, and observe the others."""
        first, *others = observed
        self._steps = deque([first])
        self._now = first
        for totals in others:
            self.observe(totals)

    def observe(self, now: Totals) -> None:
        """Extend the window to these totals."""
        self._now = now
        steps = self._steps
        if _covers(steps[-1], now, _EVENTS // _STEPS, _SECONDS / _STEPS):
            steps.append(now)
        while len(steps) > 1 and _covers(steps[1], now, _EVENTS, _SECONDS):
            steps.popleft()

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None without events."""
        events = self._now.events - self._steps[0].events
        return (self._now.late - self._steps[0].late) / events if events > 0 else None

    @property
    def observed(self) -> list[Totals]:
        """The totals from which a new object continues, at most 102."""
        return [*self._steps, self._now]


def _covers(start: Totals, end: Totals, events: int, seconds: float) -> bool:
    """Whether there are at least so many events, and so many seconds, from start to end."""
    return end.events - start.events >= events and end.at - start.at >= seconds


def is_wrong(share: float | None) -> bool:
    """Whether there are too many late events."""
    return share is not None and share >= LIMIT


def describe(share: float | None) -> str:
    """The share as the value of `late events`."""
    return "no events yet" if share is None else f"{100 * share:.1f} % of the last 10,000 events or 5 minutes"


def warning(share: float | None) -> str | None:
    """The share with the possible causes, in one line; None if nothing is wrong."""
    return f"late events: {describe(share)}. Possible causes: {'; '.join(CAUSES)}" if is_wrong(share) else None
