"""Which of two events of one type counts for a trip. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, TypeAlias

__all__ = ["Identified", "Identity", "Precedence", "precedence"]

Precedence: TypeAlias = Literal["duplicate", "superseded", "newer"]


class Identified(Protocol):
    """An event, as far as its precedence is concerned."""

    @property
    def event_id(self) -> str:
        """A hash of the content."""

    @property
    def event_version(self) -> int:
        """Higher for a correction."""


class Identity(NamedTuple):
    """The identity of an event."""

    event_id: str
    event_version: int


def precedence(event: Identified, current: Identified | None) -> Precedence:
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
