"""Bytewax operators for event-time state by key: `from chillflow import operators as cf_op`, next to Bytewax's `op`.

All names that your own dataflow needs are here; none depends on taxis.
"""

from chillflow.keyed.batches import (
    CLOCK,
    ClockBatch,
    GroupBatch,
    GroupRecords,
    PartitionProgress,
    Record,
    RecordColumns,
    SourceItem,
    WatermarkAdvance,
    is_progress,
)
from chillflow.keyed.group import State, Stretch
from chillflow.keyed.outcomes import DeadRecord, Outcome
from chillflow.keyed.stateful_map import KeyGroupsOut, key_groups, stateful_map
from chillflow.keyed.watermark import NO_WATERMARK, WatermarkTracker

__all__ = [
    "CLOCK",
    "NO_WATERMARK",
    "ClockBatch",
    "DeadRecord",
    "GroupBatch",
    "GroupRecords",
    "KeyGroupsOut",
    "Outcome",
    "PartitionProgress",
    "Record",
    "RecordColumns",
    "SourceItem",
    "State",
    "Stretch",
    "WatermarkAdvance",
    "WatermarkTracker",
    "is_progress",
    "key_groups",
    "stateful_map",
]
