"""Trip states <-> bytes for the recovery store, and the migration of states of another schema. Pure.

A packed state is an array of values in MessagePack, about 400 bytes, without field names. `SCHEMA` names the fields
once for many states, so a new field of an event or a trip needs no new version of the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from types import GenericAlias
from typing import Any, TypeAlias

import msgspec
from pydantic import BaseModel

from chillflow.assembly.trip_building import Values, getter
from chillflow.assembly.trip_state import COMPLETE, NEEDED, OPEN, Mark, TripState
from chillflow.errors import RecoveryError
from chillflow.keyed.versions import refuse_newer
from chillflow.model.codec import CompleteTripStruct
from chillflow.model.events import EVENT_CLASSES, EVENT_TYPES, TripEvent
from chillflow.model.structs import StructClass, as_tuple, fields_of
from chillflow.model.trips import CompleteTrip

__all__ = ["SCHEMA", "adapt", "dump", "is_closed", "load"]

VERSION = 1
"""The version of the layout of the arrays, not of their fields."""


class _Schema(msgspec.Struct):
    version: int
    events: dict[str, tuple[str, ...]]
    """By event type, the fields of its row."""
    trip: tuple[str, ...]
    """The fields of a complete trip."""


def _row_names(cls: type[TripEvent]) -> tuple[str, ...]:
    """The fields of an event's row: all but `trip_key`, which a state holds once."""
    return tuple(name for name in cls.struct.__struct_fields__ if name != "trip_key")


_CURRENT = _Schema(
    VERSION,
    {name: _row_names(cls) for name, cls in zip(EVENT_TYPES, EVENT_CLASSES, strict=True)},
    CompleteTripStruct.__struct_fields__,
)
SCHEMA: bytes = msgspec.json.encode(_CURRENT)
"""The names of all fields in packed states, as JSON."""

_pack = msgspec.msgpack.Encoder().encode


def dump(state: TripState) -> bytes:
    """Pack a state, without its deadline."""
    if (trip := state.trip) is not None:
        return _pack((COMPLETE, state.counted, as_tuple(trip), *state.marks))
    rows = [event and row(event) for row, event in zip(_event_rows, state.events, strict=True)]
    return _pack((state.status, state.revision, state.trip_key, rows, state.counted))


def is_closed(data: bytes) -> bool:
    """Whether a packed trip is closed, so that it expires without a result."""
    return data[1] != OPEN  # the status, a small integer after the head of the array


def load(data: bytes) -> TripState:
    """Unpack a state of the current schema, without its deadline."""
    if data[1] == COMPLETE:
        status, counted, values, *marks = _unpack_complete(data)
        trip = CompleteTripStruct(*values)
        return TripState(None, status, trip.revision, [], 0, counted, trip, marks)
    status, revision, trip_key, rows, counted = _unpack(data)
    events = [
        None if row is None else cls.struct(*row[:_KEY], trip_key, *row[_KEY:])
        for cls, row in zip(EVENT_CLASSES, rows, strict=True)
    ]
    vacant = sum(1 << kind for kind, event in enumerate(events) if event is None) if status == OPEN else 0
    return TripState(None, status, revision, events, vacant, counted)


def adapt(data: bytes, schema: bytes) -> bytes:
    """Migrate a packed state from another `SCHEMA`: new fields get their defaults, removed ones are dropped.

    Raises RecoveryError if that is impossible: the schema is of a newer release, has unknown event types, or lacks an
    event type that a complete trip needs or a field without a default.
    """
    return _adapter(schema)(data)


_KEY = 1
"""The position of `trip_key` in an event."""
assert all(cls.struct.__struct_fields__[_KEY] == "trip_key" for cls in EVENT_CLASSES)
_event_rows = [getter(_row_names(cls)) for cls in EVENT_CLASSES]


def _row_type(struct: StructClass[object], names: tuple[str, ...]) -> GenericAlias:
    """The type of a row of these fields, for msgspec."""
    types = {field.name: field.type for field in fields_of(struct)}
    return GenericAlias(tuple, tuple(types[name] for name in names))


_event_types = (_row_type(cls.struct, _row_names(cls)) | None for cls in EVENT_CLASSES)
_trip_type = _row_type(CompleteTripStruct, CompleteTripStruct.__struct_fields__)
_unpack: Callable[[bytes], tuple[int, int, str, tuple[Values | None, ...], int]] = msgspec.msgpack.Decoder(
    GenericAlias(tuple, (int, int, str, GenericAlias(tuple, (*_event_types,)), int))
).decode
_unpack_complete: Callable[[bytes], tuple[int, int, Values, *tuple[Mark | None, ...]]] = msgspec.msgpack.Decoder(
    GenericAlias(tuple, (int, int, _trip_type, *[Mark | None] * len(EVENT_CLASSES)))
).decode
_unpack_plain: Callable[[bytes], list[Any]] = msgspec.msgpack.Decoder(list[object]).decode  # rows of any schema
Row: TypeAlias = Sequence[object]


@lru_cache(8)
def _adapter(schema: bytes) -> Callable[[bytes], bytes]:
    """The function that migrates states of this schema."""
    old = msgspec.json.decode(schema, type=_Schema)
    refuse_newer("trip states", old.version, VERSION)
    if unknown := old.events.keys() - {*EVENT_TYPES}:
        raise RecoveryError(f"the recovery store holds events of unknown types: {', '.join(sorted(unknown))}")
    if new := {EVENT_TYPES[kind] for kind in NEEDED} - old.events.keys():
        raise RecoveryError(
            f"the recovery store holds complete trips without {', '.join(sorted(new))}, which a trip now needs:"
            " delete it with `chillflow-stream reset` to assemble all trips again"
        )
    position = {name: at for at, name in enumerate(old.events)}
    event_rows = {
        name: _projection(old.events[name], _CURRENT.events[name], cls)
        for name, cls in zip(EVENT_TYPES, EVENT_CLASSES, strict=True)
        if name in position
    }
    trip_row = _projection(old.trip, _CURRENT.trip, CompleteTrip)

    def current(values: Sequence[Row | None], project: bool) -> list[object]:
        """A row or a mark for each current event type."""
        found = ((name, values[position[name]] if name in position else None) for name in EVENT_TYPES)
        return [event_rows[name](value) if project and value is not None else value for name, value in found]

    def adapted(data: bytes) -> bytes:
        status, *values = _unpack_plain(data)
        if status == COMPLETE:
            counted, trip, *marks = values
            return _pack((status, counted, trip_row(trip), *current(marks, project=False)))
        revision, trip_key, rows, counted = values
        return _pack((status, revision, trip_key, current(rows, project=True), counted))

    return adapted


def _projection(old: Sequence[str], new: Sequence[str], model: type[BaseModel]) -> Callable[[Row], Row]:
    """A function from rows of the old fields to rows of the new ones."""
    added = {name: model.model_fields[name] for name in new if name not in old}
    if needed := [name for name, field in added.items() if field.is_required()]:
        raise RecoveryError(f"the recovery store lacks {', '.join(needed)}, for which {model.__name__} has no default")
    defaults = [field.get_default(call_default_factory=True) for field in added.values()]
    names = [*old, *added]
    places = [names.index(name) for name in new]
    return lambda row: [(*row, *defaults)[place] for place in places]
