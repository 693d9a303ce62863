"""Which of two events of one type counts for a trip. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

from chillflow.model.events import DecodedEvent

__all__ = ["Precedence", "precedence"]

Precedence: TypeAlias = Literal["duplicate", "superseded", "newer"]


def precedence(event: DecodedEvent, held: DecodedEvent | None) -> Precedence:
    """How an event compares with the one of its type that counts so far, if there is one.

    One `event_id` is one event, however often it is delivered. Of two ids the higher (`event_version`, `event_id`)
    counts, so every order of arrival ends with the same event.
    """
    if held is None:
        return "newer"
    if event.event_id == held.event_id:
        return "duplicate"
    if (event.event_version, event.event_id) < (held.event_version, held.event_id):
        return "superseded"
    return "newer"
