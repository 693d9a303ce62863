"""Source rows that are not replayed, and their dead letters. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from chillflow.model.messages import Message, dead_letter

__all__ = ["RejectedRow", "dead_letters"]


class RejectedRow(NamedTuple):
    """A source row that is not replayed: its place, the reason, and its values as JSON."""

    file: str
    row: int | str
    """Row number in the file, from 0; the trip_key for a row of a table."""
    reason: str
    value: bytes | None


def dead_letters(rows: Iterable[RejectedRow], dlq_topic: str) -> list[Message]:
    """The dead-letter messages of rejected rows."""
    return [
        dead_letter(dlq_topic, "read", row.reason, key=None, value=row.value, file=row.file, row=row.row)
        for row in rows
    ]
