"""The terms of the account, and how outcomes change them. Pure."""

from __future__ import annotations

from functools import cache

from chillflow.keyed.outcomes import Tally

__all__ = ["ACCOUNT", "joined_tally", "moved_tally", "opened_tally"]

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
def moved_tally(before: int, now: int, size: int, joined: int) -> Tally:
    """The change when a trip, now of `size` events, goes from one status to another or stays in it.

    `joined` is the number of new events, 0 if one superseded another, -1 if no event caused this.
    """
    superseded: Tally = (("superseded", 1),) if joined == 0 else ()
    new = max(joined, 0)
    if before == now:
        return (*superseded, (f"events_in_{_NAMES[now]}", new))
    return (
        *superseded,
        (f"{_NAMES[before]}_trips", -1),
        (f"events_in_{_NAMES[before]}", new - size),
        (f"{_NAMES[now]}_trips", 1),
        (f"events_in_{_NAMES[now]}", size),
    )
