"""Messages to a topic, and the form of a dead letter. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import msgspec

from chillflow.keyed.batches import Headers

__all__ = ["Message", "MessageColumns", "Stage", "dead_letter"]

Stage: TypeAlias = Literal["read", "decode", "write"]
"""The origin of a dead letter: a row that cannot be read, a message that cannot be decoded, a trip that a table cannot
hold."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message to a topic. `timestamp` is the event time in ms since 1970, None for the wall clock."""

    topic: str
    key: bytes | None
    value: bytes | None
    timestamp: int | None = None
    headers: Headers = ()


class MessageColumns(msgspec.Struct, frozen=True, gc=False):
    """Messages to one topic as columns, without headers: a tenth of the work of making each a `Message`."""

    topic: str
    keys: Sequence[bytes]
    values: Sequence[bytes]
    timestamps: Sequence[int]

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Message]:
        for key, value, timestamp in zip(self.keys, self.values, self.timestamps, strict=True):
            yield Message(self.topic, key, value, timestamp)


def dead_letter(
    dlq_topic: str,
    stage: Stage,
    reason: str,
    /,
    *,
    key: bytes | None,
    value: bytes | None,
    headers: Headers = (),
    timestamp: int | None = None,
    **where: str | int,
) -> Message:
    """A message to the dead-letter topic: the original, with the reason and its origin in headers.

    It keeps the original's timestamp, so that the original can be replayed unchanged. `where` identifies the original:
    topic, partition and offset; file and row; or trip_key and revision.
    """
    ours = {"stage": stage, "reason": reason, **where}
    return Message(
        dlq_topic, key, value, timestamp, (*headers, *((name, str(text).encode()) for name, text in ours.items()))
    )
