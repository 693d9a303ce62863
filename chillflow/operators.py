"""Bytewax operators for event-time state by key: `from chillflow import operators as cf_op`, beside Bytewax's `op`.

This module is public: it re-exports what a dataflow of your own needs. It knows nothing of taxis.
"""

from chillflow.keyed.batches import CLOCK, ClockBatch, GroupBatch, PartitionProgress, Record, RecordColumns, is_progress
from chillflow.keyed.group import Stretch
from chillflow.keyed.outcomes import DeadRecord, Outcome
from chillflow.keyed.stateful_map import KeyGroupsOut, key_groups, stateful_map
from chillflow.keyed.watermark import NO_WATERMARK

__all__ = [
    "CLOCK",
    "NO_WATERMARK",
    "ClockBatch",
    "DeadRecord",
    "GroupBatch",
    "KeyGroupsOut",
    "Outcome",
    "PartitionProgress",
    "Record",
    "RecordColumns",
    "Stretch",
    "is_progress",
    "key_groups",
    "stateful_map",
]
