"""Bytewax operators for event-time state by key: `from chillflow import operators as cf_op`, next to Bytewax's `op`.

All names that your own dataflow needs are here; none depends on taxis.
"""

from chillflow.keyed.batches import (
    CLOCK,
    Batch,
    ClockBatch,
    GroupBatch,
    GroupItem,
    PartitionProgress,
    Record,
    RecordColumns,
    SourceItem,
    Undecodable,
    WatermarkAdvance,
    is_progress,
)
from chillflow.keyed.outcomes import DeadRecord, Outcome
from chillflow.keyed.slots import Slots, SlotState
from chillflow.keyed.state_store import State
from chillflow.keyed.stateful_map import KeyGroupsOut, key_groups, stateful_map
from chillflow.keyed.watermark import NO_WATERMARK, WatermarkTracker

__all__ = [
    "CLOCK",
    "NO_WATERMARK",
    "Batch",
    "ClockBatch",
    "DeadRecord",
    "GroupBatch",
    "GroupItem",
    "KeyGroupsOut",
    "Outcome",
    "PartitionProgress",
    "Record",
    "RecordColumns",
    "SlotState",
    "Slots",
    "SourceItem",
    "State",
    "Undecodable",
    "WatermarkAdvance",
    "WatermarkTracker",
    "is_progress",
    "key_groups",
    "stateful_map",
]
