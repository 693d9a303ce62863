"""What a replay yields besides events: rejected rows, their dead letters, and counts. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from chillflow.model.messages import Message, dead_letter
from chillflow.production.splitting import PlacedEvent

__all__ = ["RejectedRow", "ReplayStats", "Replayed", "dead_letters"]


class RejectedRow(NamedTuple):
    """A source row that is not replayed: its place, the reason, and its values as JSON."""

    file: str
    row: int | str
    """Row number in the file, from 0; the trip_key for a row of a table."""
    reason: str
    value: bytes | None


Replayed: TypeAlias = PlacedEvent | RejectedRow


@dataclass
class ReplayStats:
    """Counts of a replay so far."""

    trips: int = 0
    events: int = 0
    rejected: int = 0
    first: int | None = None
    """Event time of the first event, µs since 1970."""


def dead_letters(rows: Iterable[RejectedRow], dlq_topic: str) -> list[Message]:
    """The dead-letter messages of rejected rows."""
    return [
        dead_letter(dlq_topic, "read", row.reason, key=None, value=row.value, file=row.file, row=row.row)
        for row in rows
    ]
