"""Which of two events of one type counts for a trip. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

from chillflow.model.events import DecodedEvent

__all__ = ["Precedence", "precedence"]

Precedence: TypeAlias = Literal["duplicate", "superseded", "newer"]


def precedence(event: DecodedEvent, current: DecodedEvent | None) -> Precedence:
    """The rank of an event against the one of its type that counts so far, if there is one.

    One `event_id` is one event, however often it is delivered. Of two the higher (`event_version`, `event_id`) counts,
    so every order of arrival ends with the same event.
    """
    if current is None:
        return "newer"
    if event.event_id == current.event_id:
        return "duplicate"
    if (event.event_version, event.event_id) < (current.event_version, current.event_id):
        return "superseded"
    return "newer"
