"""The jobs of `dead-letters`: list the dead letters of a pipeline, and replay their messages.

A replay is recorded in the dead-letter topic itself, as a message of stage `replayed`, so every reader of the topic
sees it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from chillflow.connectors import open_log
from chillflow.connectors.log import Log, newest_timestamp
from chillflow.errors import DecodeError
from chillflow.keyed.batches import Record
from chillflow.model.codec import decode
from chillflow.model.messages import Message
from chillflow.model.topics import TopicNames
from chillflow.model.trips import milliseconds
from chillflow.operation.following import Following
from chillflow.settings import Settings

__all__ = ["REPLAYED_FROM", "DeadLetter", "Replayed", "letters", "list_letters", "replay"]

REPLAYED_FROM = "replayed-from"
"""Header of a replayed message: the place of its dead letter, `<partition>@<offset>`."""
_OURS = ("stage", "reason", "topic", "partition", "offset", REPLAYED_FROM)


class DeadLetter(NamedTuple):
    """One message of the dead-letter topic."""

    place: str
    """`<partition>@<offset>` in the dead-letter topic."""
    stage: str
    reason: str
    where: dict[str, str]
    """The other headers: its origin, and in `replayed-from` the earlier letter of a message that failed again."""
    record: Record
    replayed: bool
    """Whether its message has been replayed."""


@dataclass(frozen=True)
class Replayed:
    """The result of a replay."""

    sent: int
    skipped: int
    """Letters replayed before."""
    late: int
    """Messages sent whose event is behind the newest one by more than the correction horizon: they may be late."""


def list_letters(settings: Settings, *, reason: str | None = None, again: bool = False) -> list[DeadLetter]:
    """The dead letters whose reason contains this text, replayed ones only with `again`. Raises UnknownTopicError."""
    return [
        letter
        for letter in letters(open_log(settings), TopicNames.of(settings).dead_letters)
        if (again or not letter.replayed) and (reason is None or reason in letter.reason)
    ]


def replay(
    settings: Settings, *, reason: str | None = None, places: Collection[str] = (), again: bool = False
) -> Replayed:
    """Send messages that could not be decoded to their topic again, unchanged.

    `reason` is a text that the reason must contain; `places` are those of the letters, all if empty. Letters replayed
    before are skipped unless `again`. Raises ChillFlowError.
    """
    log, dlq_topic = open_log(settings), TopicNames.of(settings).dead_letters
    chosen = [
        letter
        for letter in letters(log, dlq_topic)
        if letter.stage == "decode"
        and (reason is None or reason in letter.reason)
        and (not places or letter.place in places)
    ]
    to_send = [letter for letter in chosen if again or not letter.replayed]
    newest = newest_timestamp(log, settings.topic)
    horizon = settings.correction_horizon // timedelta(milliseconds=1)
    _send(log, dlq_topic, to_send)
    late = 0 if newest is None else sum(_is_before(letter.record, newest - horizon) for letter in to_send)
    return Replayed(len(to_send), len(chosen) - len(to_send), late)


def letters(log: Log, dlq_topic: str) -> list[DeadLetter]:
    """All dead letters. Raises UnknownTopicError."""
    found: list[DeadLetter] = []
    replayed: set[str] = set()
    with closing(Following(log, dlq_topic, "beginning")) as following:
        for message in following.messages(stop_at_end=True, on_end=lambda: None):
            headers = {name: data.decode(errors="replace") for name, data in message.record.headers or ()}
            stage, reason = headers.pop("stage", "?"), headers.pop("reason", "?")
            if stage == "replayed":
                replayed.add(headers[REPLAYED_FROM])
            else:
                place = f"{message.partition}@{message.record.offset}"
                found.append(DeadLetter(place, stage, reason, headers, message.record, False))
    return [letter._replace(replayed=letter.place in replayed) for letter in found]


def _send(log: Log, dlq_topic: str, chosen: Iterable[DeadLetter]) -> None:
    writer = log.writer("dead-letters")
    for letter in chosen:
        record = letter.record
        headers = tuple((name, data) for name, data in record.headers or () if name not in _OURS)
        source = (REPLAYED_FROM, letter.place.encode())
        original = Message(letter.where["topic"], record.key, record.value, record.timestamp, (*headers, source))
        writer.send(original, int(letter.where["partition"]))
        writer.send(Message(dlq_topic, None, None, record.timestamp, (("stage", b"replayed"), source)))
    writer.flush()
    writer.close()


def _is_before(record: Record, time: int) -> bool:
    """Whether the event is older than this time (ms since 1970); the message if it cannot be decoded."""
    try:
        return milliseconds(decode(record.value).event_time) < time
    except DecodeError:
        return record.timestamp is not None and record.timestamp < time
