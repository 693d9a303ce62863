"""A topic as people and pipes read it: its partitions merged by time, a line a message."""

from __future__ import annotations

import base64
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import typer

from chillflow.connectors.log import Log, LogRecord, PartitionReader
from chillflow.model.codec import decode_value, encode_value

__all__ = ["Following", "Shown", "as_json", "as_text", "matches"]

_BATCH = 500
_IDLE_SECONDS = 0.05


class Shown(NamedTuple):
    """A message, and what its value says if that is a JSON object."""

    topic: str
    partition: int
    record: LogRecord
    value: dict[str, Any] | None


class Following:
    """Reads all partitions of a topic, the oldest message first among those at hand."""

    def __init__(self, log: Log, topic: str, since: str | int) -> None:
        """`since` is "beginning", "end", or a time in ms. Raises UnknownTopicError."""
        self._topic = topic
        self._readers: list[PartitionReader] = []
        for number in range(log.partitions(topic)):
            position = None
            if since == "end":
                position = log.end_offset(topic, number)
            elif isinstance(since, int):
                position = log.offset_at(topic, number, since)
            self._readers.append(log.reader(topic, number, position, group=None))
        self._waiting: list[deque[LogRecord]] = [deque() for _ in self._readers]

    def messages(self, *, stop_at_end: bool, on_end: Callable[[], None]) -> Iterator[Shown]:
        """The messages; `on_end` is called when for the first time there are no more."""
        told = False
        while True:
            behind = False
            for reader, waiting in zip(self._readers, self._waiting, strict=True):
                if not waiting:
                    waiting.extend(reader.read(_BATCH))
                behind = behind or not (waiting or reader.at_end)
            ready = [number for number, waiting in enumerate(self._waiting) if waiting]
            if ready and (not behind or told):
                number = min(ready, key=lambda each: self._waiting[each][0].timestamp or 0)
                record = self._waiting[number].popleft()
                yield Shown(self._topic, number, record, _value(record))
            elif behind or told:
                time.sleep(_IDLE_SECONDS)
            elif stop_at_end:
                return
            else:
                on_end()
                told = True

    def close(self) -> None:
        """Let the readers go."""
        for reader in self._readers:
            reader.close()


def _value(record: LogRecord) -> dict[str, Any] | None:
    try:
        value = decode_value(record.value) if record.value is not None else None
    except Exception:  # whatever the bytes are, they are shown as they are
        return None
    return value if isinstance(value, dict) else None


def matches(message: Shown, trip_key: str | None, event_type: str | None) -> bool:
    """Whether the message is of this trip and this type, where they are given."""
    if trip_key is not None and message.record.key != trip_key.encode():
        return False
    return event_type is None or (message.value or {}).get("event_type") == event_type


def as_json(message: Shown) -> str:
    """The value as one line, where necessary within an object that says where the message stands.

    That is so for a message with headers (dead letters, late events), and for one whose value is no JSON object.
    """
    record = message.record
    if message.value is not None and not record.headers:
        return encode_value(message.value).decode()
    around: dict[str, Any] = {
        "topic": message.topic,
        "partition": message.partition,
        "offset": record.offset,
        "key": _text(record.key),
        "headers": {name: _text(data) for name, data in record.headers or ()},
        "value": message.value,
    }
    if message.value is None:
        around["error"] = "null value" if record.value is None else "not a JSON object"
        around["value_base64"] = base64.b64encode(record.value or b"").decode()
    return encode_value(around).decode()


_HUES = {
    "trip_started": "green",
    "zone_exited": "cyan",
    "zone_entered": "blue",
    "payment_processed": "yellow",
    "trip_ended": "magenta",
}
_COMMON = ("event_id", "event_type", "trip_key", "event_time", "schema_version", "event_version")


def as_text(message: Shown) -> str:
    """An aligned line: place, time, type, trip, and what is known besides."""
    record, value = message.record, message.value
    place = f"{message.partition}@{record.offset}"
    if value is None:
        what = "null value" if record.value is None else f"{record.value[:60]!r}"
        line = typer.style(f"not a JSON object: {what}", fg="red")
    else:
        kind = str(value.get("event_type", message.topic))
        details = {name: each for name, each in value.items() if name not in _COMMON and each is not None}
        line = (
            f"{_time(record, value):20}  {typer.style(f'{kind:17}', fg=_HUES.get(kind))}"
            f"  {str(value.get('trip_key', _text(record.key)))[:12]:12}"
            f"  {' '.join(f'{name}={each}' for name, each in details.items())}"
        )
    headers = " ".join(f"{name}={_text(data)}" for name, data in record.headers or ())
    return f"{place:>12}  {line}{'  ' + typer.style(headers, fg='red') if headers else ''}"


def _time(record: LogRecord, value: dict[str, Any]) -> str:
    if "event_time" in value:
        return str(value["event_time"])
    if record.timestamp is None:
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.timestamp / 1000))


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="backslashreplace")
