"""The items that a source sends to key groups and to the clock: batches of records, and watermarks. Pure.

Bytewax pickles each item that crosses processes, so an item is a batch of records and not a record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
"""Message headers in order; of a repeated name the last value counts."""


class Record(NamedTuple):
    """One message read from a partition."""

    watermark: int
    """Watermark of the partition when the message was read, ms since 1970, or NO_WATERMARK."""
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None
    timestamp: int | None = None
    """Event time, ms since 1970: the message's timestamp, or a time from its body if the source is set to that."""


@dataclass
class RecordColumns:
    """Consecutive records of one group, one list per field, at a tenth of the cost of `Record` objects."""

    watermarks: Sequence[int]
    offsets: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers | None]
    timestamps: Sequence[int | None]
    read_at: float | None = None
    """When the batch was read, seconds since 1970."""

    @classmethod
    def of(cls, records: Iterable[Record]) -> RecordColumns:
        """The columns of these records, of which there is at least one."""
        watermarks, offsets, keys, values, headers, timestamps = zip(*records, strict=True)
        return cls(watermarks, offsets, keys, values, headers, timestamps)

    def __len__(self) -> int:
        return len(self.watermarks)

    def __getitem__(self, at: int) -> Record:
        return Record(
            self.watermarks[at], self.offsets[at], self.keys[at], self.values[at], self.headers[at], self.timestamps[at]
        )


WatermarkAdvance: TypeAlias = int
"""A watermark (ms) without records: the progress of the partition, for a quiet group."""
GroupRecords: TypeAlias = Sequence[Record] | RecordColumns | WatermarkAdvance
"""Records of one group in the order of the log, or a watermark without records."""
GroupBatch: TypeAlias = tuple[str, GroupRecords]
"""The name of a key group, `<partition>/<number>`, and records or a watermark for it."""


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
SourceItem: TypeAlias = GroupBatch | ClockBatch
"""An item of a source; `is_progress` distinguishes the two kinds."""


def is_progress(item: SourceItem) -> TypeGuard[ClockBatch]:
    """Whether an item of a source is for the clock."""
    return item[0] == CLOCK
