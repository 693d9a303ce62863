"""Dead letters: what lies in their topic, and sending some of it again.

That a letter was sent again is written to the dead-letter topic itself, as a message of stage `replayed`, so that
everybody sees it and no other store is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from chillflow.connectors.log import Log, LogRecord
from chillflow.errors import DecodeError
from chillflow.model.codec import decode
from chillflow.model.messages import Message
from chillflow.model.trips import milliseconds
from chillflow.operation.following import Following

__all__ = ["REPLAYED_FROM", "DeadLetter", "letters", "replay"]

REPLAYED_FROM = "replayed-from"
"""Header of a message sent again: where its dead letter stands, `<partition>@<offset>`."""
_OURS = ("stage", "reason", "topic", "partition", "offset")


class DeadLetter(NamedTuple):
    """One message of the dead-letter topic."""

    place: str
    """`<partition>@<offset>` in the dead-letter topic."""
    stage: str
    reason: str
    where: dict[str, str]
    """What its headers say of its origin; `replayed-from` names the letter whose message failed again."""
    record: LogRecord
    replayed: bool
    """Whether its message was sent again."""


def letters(log: Log, dlq_topic: str) -> list[DeadLetter]:
    """All dead letters. Raises UnknownTopicError."""
    following = Following(log, dlq_topic, "beginning")
    found: list[DeadLetter] = []
    replayed: set[str] = set()
    for message in following.messages(stop_at_end=True, on_end=lambda: None):
        headers = {name: data.decode(errors="replace") for name, data in message.record.headers or ()}
        stage, reason = headers.pop("stage", "?"), headers.pop("reason", "?")
        if stage == "replayed":
            replayed.add(headers[REPLAYED_FROM])
        else:
            place = f"{message.partition}@{message.record.offset}"
            found.append(DeadLetter(place, stage, reason, headers, message.record, False))
    following.close()
    return [letter._replace(replayed=letter.place in replayed) for letter in found]


def replay(log: Log, dlq_topic: str, chosen: Iterable[DeadLetter], late_before: int | None) -> tuple[int, int]:
    """Send the messages of these letters (of stage `decode`) to where they came from, as they were.

    How many were sent, and how many of them will be counted late: their event lies before `late_before` (ms).
    """
    writer = log.writer("dead-letters")
    sent, late = 0, 0
    for letter in chosen:
        record = letter.record
        headers = tuple((name, data) for name, data in record.headers or () if name not in (*_OURS, REPLAYED_FROM))
        source = (REPLAYED_FROM, letter.place.encode())
        original = Message(letter.where["topic"], record.key, record.value, record.timestamp, (*headers, source))
        writer.send(original, int(letter.where["partition"]))
        writer.send(Message(dlq_topic, None, None, record.timestamp, (("stage", b"replayed"), source)))
        sent += 1
        late += late_before is not None and _is_before(record, late_before)
    writer.flush()
    writer.close()
    return sent, late


def _is_before(record: LogRecord, time: int) -> bool:
    try:
        return milliseconds(decode(record.value).event_time) < time
    except DecodeError:
        return record.timestamp is not None and record.timestamp < time
