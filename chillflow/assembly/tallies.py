"""The terms of the account, and how outcomes change them. Pure."""

from __future__ import annotations

from functools import cache

from chillflow.keyed.outcomes import Tally

__all__ = ["ACCOUNT", "completed_tally", "joined_tally", "opened_tally", "timed_out_tally"]

ACCOUNT = (
    "events",
    "complete_trips",
    "incomplete_trips",
    "open_trips",
    "events_in_complete",
    "events_in_incomplete",
    "events_in_open",
    "duplicates",
    "superseded",
    "late",
    "dead_letters",
    "left_out_trips",
)
"""The terms. `events` (read) is the sum of the other terms that count events. `left_out_trips` are complete trips whose
last revision is excluded from windows (see `Assembly`)."""

_NAMES = ("open", "incomplete", "complete")
"""By status (`trip_state.OPEN` and so on)."""


@cache
def opened_tally(size: int) -> Tally:
    """The change when a trip opens with `size` events."""
    return (("open_trips", 1), ("events_in_open", size))


@cache
def joined_tally(status: int) -> Tally:
    """The change when one more event joins a trip of this status."""
    return ((f"events_in_{_NAMES[status]}", 1),)


@cache
def completed_tally(before: int, size: int) -> Tally:
    """The change when a trip of this status, in which `size` events are counted, becomes complete."""
    return _moved(_NAMES[before], "complete", size)


@cache
def timed_out_tally(size: int) -> Tally:
    """The change when an open trip of `size` events becomes incomplete."""
    return _moved("open", "incomplete", size)


def _moved(before: str, now: str, size: int) -> Tally:
    return (f"{before}_trips", -1), (f"events_in_{before}", -size), (f"{now}_trips", 1), (f"events_in_{now}", size)
