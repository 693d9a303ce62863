"""What flows between a source, its key groups and the watermark clock: records in batches, and watermarks. Pure.

Bytewax pickles every item that crosses processes, so one item is a batch of records and not a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeGuard

__all__ = [
    "CLOCK",
    "ClockBatch",
    "GroupBatch",
    "GroupRecords",
    "Headers",
    "PartitionProgress",
    "Record",
    "RecordColumns",
    "SourceItem",
    "WatermarkAdvance",
    "is_progress",
]

Headers: TypeAlias = tuple[tuple[str, bytes], ...]
"""Message headers in their order; a name may repeat, and the last value of a name counts."""


class Record(NamedTuple):
    """One message as it was read from a partition."""

    watermark: int
    """Watermark of its partition when it was read, ms since 1970, or NO_WATERMARK."""
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None
    timestamp: int | None = None
    """The message's timestamp, ms since 1970."""


@dataclass
class RecordColumns:
    """Consecutive records of one group, one list per field: a tenth of the cost of building `Record` objects."""

    watermarks: Sequence[int]
    offsets: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers | None]
    timestamps: Sequence[int | None]
    read_at: float | None = None
    """When the batch was read, seconds since 1970."""

    def __len__(self) -> int:
        return len(self.watermarks)

    def __getitem__(self, at: int) -> Record:
        return Record(
            self.watermarks[at], self.offsets[at], self.keys[at], self.values[at], self.headers[at], self.timestamps[at]
        )


WatermarkAdvance: TypeAlias = int
"""A watermark without records (ms): tells a quiet group how far its partition has progressed."""
GroupRecords: TypeAlias = Sequence[Record] | RecordColumns | WatermarkAdvance
GroupBatch: TypeAlias = tuple[str, GroupRecords]
"""A key group's name, `<partition>/<number>`, and what its partition sends it."""


class PartitionProgress(NamedTuple):
    """The watermark of a partition, as its source announces it."""

    partition: str
    time: int
    """Watermark as of a snapshot whose epoch has ended on all workers, so all its records have arrived; ms since 1970,
    or NO_WATERMARK."""
    idle: bool
    """Whether the partition was read to its end and has been silent since."""
    last: bool = False
    """The end of a bounded run: applies once all records have arrived."""


CLOCK = "clock"
"""The Bytewax key of the one step that combines the watermarks of all partitions."""
ClockBatch: TypeAlias = tuple[str, PartitionProgress]
"""CLOCK, and the progress of one partition."""
SourceItem: TypeAlias = GroupBatch | ClockBatch


def is_progress(item: SourceItem) -> TypeGuard[ClockBatch]:
    """Whether an item of a source is for the watermark clock."""
    return item[0] == CLOCK
