"""A message as one line: aligned text for people, JSON for pipes."""

from __future__ import annotations

import base64
import time

import typer

from chillflow.keyed.batches import Record
from chillflow.model.codec import encode_value
from chillflow.model.events import TripEvent
from chillflow.operation.following import Shown

__all__ = ["as_json", "as_text"]


def as_json(message: Shown) -> str:
    """The value as one line.

    A message with headers (a dead letter, a late event), or whose value is not a JSON object, is shown as an object
    with topic, partition, offset, key, headers and value.
    """
    record = message.record
    if message.value is not None and not record.headers:
        return encode_value(message.value).decode()
    envelope: dict[str, object] = {
        "topic": message.topic,
        "partition": message.partition,
        "offset": record.offset,
        "key": _text(record.key),
        "headers": {name: _text(data) for name, data in record.headers or ()},
        "value": message.value,
    }
    if message.value is None:
        envelope["error"] = "null value" if record.value is None else "not a JSON object"
        envelope["value_base64"] = base64.b64encode(record.value or b"").decode()
    return encode_value(envelope).decode()


_COLOURS = {
    "trip_started": "green",
    "zone_exited": "cyan",
    "zone_entered": "blue",
    "payment_processed": "yellow",
    "trip_ended": "magenta",
}


def as_text(message: Shown) -> str:
    """An aligned line of place, time, type, trip, other fields and headers."""
    record, value = message.record, message.value
    place = f"{message.partition}@{record.offset}"
    if value is None:
        content = "null value" if record.value is None else f"{record.value[:60]!r}"
        line = typer.style(f"not a JSON object: {content}", fg="red")
    else:
        kind = str(value.get("event_type", message.topic))
        details = {
            name: each for name, each in value.items() if name not in TripEvent.model_fields and each is not None
        }
        line = (
            f"{_time(record, value):20}  {typer.style(f'{kind:17}', fg=_COLOURS.get(kind))}"
            f"  {str(value.get('trip_key', _text(record.key)))[:12]:12}"
            f"  {' '.join(f'{name}={each}' for name, each in details.items())}"
        )
    headers = " ".join(f"{name}={_text(data)}" for name, data in record.headers or ())
    return f"{place:>12}  {line}{'  ' + typer.style(headers, fg='red') if headers else ''}"


def _time(record: Record, value: dict[str, object]) -> str:
    if "event_time" in value:
        return str(value["event_time"])
    if record.timestamp is None:
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.timestamp / 1000))


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="backslashreplace")
