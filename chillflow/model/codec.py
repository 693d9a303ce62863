"""Bytes <-> events and trips: the one place that knows the wire format (JSON, one object a message)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import Any

import msgspec
from pydantic import ValidationError

from chillflow.errors import DecodeError
from chillflow.model.events import EVENT_CLASSES, DecodedEvent, Event, TripEvent, event_adapter, wire
from chillflow.model.structs import StructClass, derive
from chillflow.model.trips import CompleteTrip, TripValues

__all__ = [
    "KINDS",
    "STRUCTS",
    "CompleteTripStruct",
    "decode",
    "decode_all",
    "decode_keyed",
    "decode_model",
    "decode_value",
    "encode",
    "encode_value",
    "time_text",
    "utc",
]


CompleteTripStruct: StructClass[TripValues] = derive(CompleteTrip)
"""The fast twin of `CompleteTrip`; made by position, in the order of its fields."""

STRUCTS = tuple(cls.struct for cls in EVENT_CLASSES)
KINDS: dict[object, int] = {struct: kind for kind, struct in enumerate(STRUCTS)}
"""The place of an event's type among the five (`EVENT_CLASSES`)."""
_TIME_FIELDS = ("event_time", "pickup_ts", "dropoff_ts")


def _is_usual(struct: StructClass[DecodedEvent]) -> Callable[[Any], bool]:
    """Whether an event is as our own producers write it. Written out it takes half of what looking by name would."""
    tests = [f"event.{name}.tzinfo is utc" for name in _TIME_FIELDS if name in struct.__struct_fields__]
    if "extra_columns" in struct.__struct_fields__:
        tests.append("event.extra_columns is None")
    test: Callable[[Any], bool] = eval(f"lambda event: {' and '.join(tests)}", {"utc": UTC})  # noqa: S307 - our own names
    return test


_IS_USUAL: dict[object, Callable[[Any], bool]] = {struct: _is_usual(struct) for struct in STRUCTS}
_decode: Callable[[bytes], DecodedEvent] = msgspec.json.Decoder(reduce(or_, STRUCTS)).decode
_encoder = msgspec.json.Encoder()

encode_value: Callable[[object], bytes] = _encoder.encode
"""JSON bytes of any plain value or struct."""
decode_value = msgspec.json.decode
"""The plain value of JSON bytes or text."""


def encode(event: TripEvent) -> bytes:
    """The event's bytes on the wire."""
    struct = event.to_struct()
    given, struct.event_id = event.event_id, ""
    content = wire(struct)
    ours = content[len('{"event_id":"') :].split(b'"', 1)[0]
    if given.encode() == ours:
        return content
    return b'{"event_id":' + encode_value(given) + content[len('{"event_id":""') + len(ours) :]


def decode(value: bytes | None) -> DecodedEvent:
    """The event in a message's value. Raises DecodeError with the reason."""
    return decode_keyed(None, value)


def decode_keyed(key: bytes | None, value: bytes | None) -> DecodedEvent:
    """The event of a message; a key that is given must be its trip_key. Raises DecodeError with the reason.

    The fast decoder reads what our own producers write. Pydantic has the last word on all else: it explains
    what is wrong, or takes a message that left out a field with a default (a producer that does not know our
    `event_id`), has times with other offsets, extra columns, or text that is not ASCII.
    """
    if value is None:
        raise DecodeError("null value (a tombstone)")
    try:
        event = _decode(value)
        is_usual = value.isascii() and _IS_USUAL[type(event)](event)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        is_usual = False
    if not is_usual:
        event = decode_model(value).to_struct()
    if key is not None and event.trip_key.encode() != key:
        raise DecodeError(f"the message key {key.decode(errors='replace')!r} is not the trip_key of the event")
    return event


def decode_all(values: Sequence[bytes | None]) -> Sequence[DecodedEvent | None]:
    """The events of many messages, 0.7 µs each, for a caller that takes only what is usual.

    They are not held to their keys, nor to UTC, and may have extra columns. A message whose event is None here is to
    be decoded by `decode_keyed`.
    """
    given: Any = values
    try:
        if all(map(bytes.isascii, given)):
            return [*map(_decode, given)]
    except (msgspec.MsgspecError, RecursionError, UnicodeError, TypeError):
        pass
    return [*map(_decoded, values)]


def _decoded(value: bytes | None) -> DecodedEvent | None:
    try:
        event = _decode(value or b"")
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None
    return event if value and value.isascii() else None


def decode_model(value: bytes) -> Event:
    """The event as a pydantic model. Raises DecodeError with the reason."""
    try:
        msgspec.json.decode(value, type=msgspec.Raw)  # pydantic would take NaN, which is no JSON
    except (msgspec.DecodeError, RecursionError) as error:
        raise DecodeError(str(error)) from error
    try:
        return event_adapter.validate_json(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DecodeError(f"{place}: {first['msg']}" if place else str(first["msg"])) from error


def utc(time: datetime) -> datetime:
    """The same instant in UTC."""
    return time if time.tzinfo is UTC else time.astimezone(UTC)


def time_text(time: datetime) -> str:
    """RFC 3339 in UTC, as on the wire: `2024-01-01T05:12:40Z`, microseconds only where there are any."""
    return _encoder.encode(utc(time))[1:-1].decode()
