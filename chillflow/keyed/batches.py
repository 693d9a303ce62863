"""The items that a source sends to key groups and to the clock: batches of decoded records, and watermarks. Pure.

Bytewax pickles each item that crosses processes, so an item is a batch of records and not a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Generic, NamedTuple, TypeAlias, TypeGuard, TypeVar

__all__ = [
    "CLOCK",
    "Batch",
    "ClockBatch",
    "Decode",
    "GroupBatch",
    "GroupItem",
    "Headers",
    "PartitionProgress",
    "Record",
    "RecordColumns",
    "SourceItem",
    "Undecodable",
    "WatermarkAdvance",
    "is_progress",
    "times_of_events",
]

Headers: TypeAlias = tuple[tuple[str, bytes], ...]
"""Message headers in order; of a repeated name the last value counts."""
E = TypeVar("E")
T = TypeVar("T")


class Record(NamedTuple):
    """One message of a partition, as it was read."""

    offset: int
    timestamp: int | None
    """ms since 1970; the event time, if the producer set it."""
    key: bytes | None
    value: bytes | None
    headers: Headers | None


class RecordColumns(NamedTuple):
    """Consecutive records of a partition, one sequence per field: a tenth of the cost of `Record` objects."""

    offsets: Sequence[int]
    timestamps: Sequence[int | None]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers | None]

    @classmethod
    def of(cls, records: Iterable[Record]) -> RecordColumns:
        """The columns of these records, of which there is at least one."""
        return cls(*zip(*records, strict=True))

    def record(self, at: int) -> Record:
        """The record at index `at`."""
        return Record._make(column[at] for column in self)

    def before(self, end: int) -> RecordColumns:
        """The first `end` records."""
        return RecordColumns._make(column[:end] for column in self)

    def records(self) -> list[Record]:
        """All of them as Records."""
        return [*map(Record._make, zip(*self, strict=True))]


class Undecodable(NamedTuple):
    """In place of the event of a record that holds none: a dead letter."""

    reason: str


def times_of_events(events: Sequence[object | Undecodable], timestamps: Sequence[int | None]) -> Sequence[int | None]:
    """The timestamps of the records that hold events, None for the others: only events move a watermark."""
    return [None if isinstance(event, Undecodable) else time for event, time in zip(events, timestamps, strict=True)]


Decode: TypeAlias = Callable[[Sequence[bytes | None], Sequence[bytes | None]], Sequence[E | Undecodable]]
"""(message keys, message values) -> the event of each message. Raises nothing."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[E]):
    """Records of one key group in the order of the log, with their events and watermarks.

    Between processes only the bytes cross, and are decoded again on arrival: so events need not be picklable. Without
    `decode` the events cross, too.
    """

    records: RecordColumns
    events: Sequence[E | Undecodable]
    watermarks: Sequence[int]
    """The watermark of the partition after each record, ms since 1970, or NO_WATERMARK."""
    read_at: float | None = None
    """When the batch was read, seconds since 1970."""
    decode: Decode[E] | None = None
    """A function of a module that decoded the events; without one they are pickled."""

    def __len__(self) -> int:
        return len(self.watermarks)

    def split(self, groups: Sequence[int]) -> dict[int, Batch[E]]:
        """A batch for each group, given the group of each record."""
        places: dict[int, list[int]] = {}
        for at, group in enumerate(groups):
            places.setdefault(group, []).append(at)
        return {group: self._at(some) for group, some in places.items()}

    def _at(self, places: Sequence[int]) -> Batch[E]:
        some = itemgetter(*places) if len(places) > 1 else lambda column: (column[places[0]],)
        return Batch(
            RecordColumns._make(map(some, self.records)),
            some(self.events),
            some(self.watermarks),
            self.read_at,
            self.decode,
        )

    def __reduce__(self) -> tuple[object, ...]:
        events = self.events if self.decode is None else None
        return _received, (self.records, events, self.watermarks, self.read_at, self.decode)


def _received(
    records: RecordColumns,
    events: Sequence[E | Undecodable] | None,
    watermarks: Sequence[int],
    read_at: float | None,
    decode: Decode[E] | None,
) -> Batch[E]:
    if events is None:
        assert decode is not None, "a batch is pickled with its events, or with the function that decoded them"
        events = decode(records.keys, records.values)
    return Batch(records, events, watermarks, read_at, decode)


WatermarkAdvance: TypeAlias = int
"""A watermark (ms) without records: the progress of the partition, for a quiet group."""
GroupItem: TypeAlias = Batch[E] | WatermarkAdvance
"""Records of one group, or a watermark without records."""
GroupBatch: TypeAlias = tuple[str, GroupItem[E]]
"""The name of a key group, `<partition>/<number>`, and an item for it."""


class PartitionProgress(NamedTuple):
    """The watermark of a partition, as its source reports it."""

    partition: str
    watermark: int
    """Watermark at a snapshot whose epoch has ended on all workers, so all records before it have arrived; ms since
    1970, or NO_WATERMARK."""
    idle: bool
    """Whether the partition was read to its end and has been silent for the idle timeout."""
    last: bool = False
    """Whether this ends a bounded run; it applies once all records have arrived."""


CLOCK = "clock"
"""The Bytewax key of the clock, the step that combines the watermarks of all partitions."""
ClockBatch: TypeAlias = tuple[str, PartitionProgress]
"""CLOCK, and the progress of one partition."""
SourceItem: TypeAlias = GroupBatch[E] | ClockBatch
"""An item of a source; `is_progress` distinguishes the two kinds."""


def is_progress(item: SourceItem[E]) -> TypeGuard[ClockBatch]:
    """Whether an item of a source is for the clock."""
    return item[0] == CLOCK
