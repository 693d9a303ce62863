"""Size of the assembly's state, in bytes per trip."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.measuring import Table
from chillflow.assembly import state_codec
from chillflow.assembly.rules import Assembly
from chillflow.keyed.batches import Batch, Record, RecordColumns
from chillflow.keyed.compression import compress, decompress
from chillflow.keyed.group import KeyedLogic, KeyGroup
from chillflow.keyed.outcomes import Outcome
from chillflow.keyed.packing import PieceFormat
from chillflow.keyed.state_store import StateFormat
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.model.codec import decode_all
from chillflow.model.events import DecodedEvent
from chillflow.model.messages import Message
from chillflow.production.disorder import Disorder
from chillflow.production.event_frames import event_frames
from chillflow.production.parquet import ParquetTrips
from chillflow.production.replay import replay_singly
from chillflow.production.screening import Screen
from chillflow.production.splitting import Events, PlacedEvent, encode_events
from chillflow.settings import DEFAULT_TIME_ZONE, Settings
from chillflow.synthetic.trip_generator import generate

STEPS_TRIPS = 20_000


def some_events(folder: Path, shuffle: timedelta = timedelta(0)) -> list[Record]:
    """Events of one day of trips as log records, in order or delayed by up to `shuffle`."""
    file = folder / "some.parquet"
    generate(file, STEPS_TRIPS, days=1)
    messages = enumerate(messages_of(file, "trip-events", shuffle))
    return [Record(offset, each.timestamp, each.key, each.value, None) for offset, each in messages]


def messages_of(file: Path, topic: str, shuffle: timedelta = timedelta(0)) -> Iterator[Message]:
    """The events of a file's trips in event-time order, or delayed by up to `shuffle`."""
    screen = Screen(datetime.now(UTC), timedelta(hours=1), timedelta(days=8))
    frames = event_frames(ParquetTrips(file, DEFAULT_TIME_ZONE).frames(), screen, origin=str(file))
    disorder = Disorder(shuffle)
    for event in replay_singly(frames, disorder.apply if disorder else iter):
        if isinstance(event, PlacedEvent):
            yield from encode_events(Events.of([event]), topic)


def rules() -> Assembly:
    """Assembly rules with the default horizons."""
    settings = Settings()
    return Assembly(settings.trip_timeout, settings.correction_horizon, settings.incomplete_horizon)


def group(snapshot: Any = None) -> KeyGroup[Any, Any, Any]:
    """A key group of trips, as in the dataflow."""
    assembly = rules()
    pieces = PieceFormat(state_codec.SCHEMA, state_codec.adapt, compress, decompress)
    states = StateFormat(state_codec.dump, state_codec.load, state_codec.is_closed, pieces)
    return KeyGroup(KeyedLogic(assembly.assemble, assembly.expire, states, assembly.slots), snapshot)


class Count:
    """The state of `counting_group`."""

    def __init__(self, deadline: int | None, number: int) -> None:
        self.deadline = deadline
        self.number = number


def counting_group() -> KeyGroup[Any, Any, Any]:
    """A key group of the simplest use of `stateful_map`: it counts the messages of a key."""
    day, outcome, ended = 86_400_000, Outcome[Any]((("counted", 1),)), Outcome[Any]((("ended", 1),))

    def mapper(state: Count | None, event: bytes | None, watermark: int) -> tuple[Count, Outcome[Any]]:
        if state is None:
            return Count(watermark + day, 1), outcome
        state.number += 1
        return state, outcome

    states: StateFormat[Count] = StateFormat(
        lambda state: state.number.to_bytes(8), lambda data: Count(None, int.from_bytes(data))
    )
    return KeyGroup(KeyedLogic(mapper, lambda state: (None, ended), states))


def batch_of(records: Sequence[Record], watermarks: Sequence[int]) -> Batch[DecodedEvent]:
    """The records as a source emits them."""
    columns = RecordColumns.of(records)
    return Batch(columns, decode_all(columns.keys, columns.values), watermarks, decode=decode_all)


def sizes(folder: Path) -> Table:
    """Bytes per trip in memory and in the recovery store, for open and closed trips."""
    events = some_events(folder)
    rows = []
    firsts = list({each.key: each for each in reversed(events)}.values())
    for name, some in (("open trip, one event", firsts), ("closed trip, five events", events)):
        batch = batch_of(some, [NO_WATERMARK] * len(some))
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        one = group()
        one.process([batch])
        live, _ = tracemalloc.get_traced_memory()
        one.snapshot()
        packed, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        stored = len(pickle.dumps(one.snapshot()))
        rows.append([name, *(f"{size / len(firsts):,.0f}" for size in (live - before, packed - before, stored))])
    return Table(["", "touched in this epoch", "packed", "in the snapshot"], rows)
