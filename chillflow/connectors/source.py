"""The source of the assembly: partitions of a log -> records in key groups, each with its watermark.

What to resume from is in the recovery store alone. Two facts of Bytewax carry this module: no source starts
epoch N + 1 before epoch N is durable on all workers, so what is done in the first `next_batch` after a
`snapshot` may rely on that snapshot; and `StopIteration` closes a partition at once, so a partition that is
done goes on with empty batches until its last snapshot is durable.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition

from chillflow.connectors.inspection import Inspection, body_time
from chillflow.connectors.log import Log, LogColumns, PartitionReader
from chillflow.errors import RecoveryError
from chillflow.keyed.batches import CLOCK, ClockBatch, GroupBatch, PartitionProgress, RecordColumns
from chillflow.keyed.placement import groups_of, partition_name, placed
from chillflow.keyed.timed import Timed
from chillflow.keyed.watermark import NO_WATERMARK, WatermarkTracker
from chillflow.telemetry import Telemetry
from chillflow.telemetry.failures import keeps_failures

__all__ = ["LogSource", "partition_name"]

VERSION = 1
_BATCH = 2048
_IDLE = timedelta(milliseconds=10)
_PROGRESS_STEP = 60_000
"""Quiet groups hear of progress in steps of a minute of stream time: hearing costs them a snapshot."""


@keeps_failures
@dataclass(frozen=True)
class LogSource(FixedPartitionedSource[GroupBatch | ClockBatch, dict[str, Any]]):
    """Reads all partitions of a topic.

    With `exit_at_end` a partition ends where it ended when it was opened. `draining` is asked before each
    batch; once it says yes nothing more is read, and when that is durable the flow is stopped, or in a cluster a
    file with the partition's name is put into `drained`: a process that stopped by itself would keep the others
    from finishing their epoch.
    """

    log: Log
    topic: str
    key_groups: int
    stream_time_rank: int
    group: str
    event_time: Literal["timestamp", "body"] = "timestamp"
    idle_timeout: timedelta = timedelta(minutes=1)
    """A partition that has been silent for so long keeps no window of the others from being final."""
    durable: Callable[[], None] = lambda: None
    """Called by the first partition when an epoch has become durable, before the next one can end."""
    exit_at_end: bool = False
    ended: list[Callable[[], None]] | None = None
    """Where a bounded run that reads all partitions in this process puts what is to be done once the flow has ended and
    all is durable. Without it each partition waits for that itself, up to two epochs."""
    placed: bool = True
    """Whether the key groups have names that put them on the workers of their partitions."""
    draining: Callable[[], bool] = lambda: False
    drained: Path | None = None
    telemetry: Telemetry = field(default_factory=Telemetry, repr=False, compare=False)
    """Of the run that reads."""
    built: list[_SourcePartition] = field(default_factory=list, init=False, repr=False, compare=False)
    """The partitions of this process."""

    def list_parts(self) -> list[str]:
        return [partition_name(number) for number in range(self._count)]

    def build_part(self, step_id: str, for_part: str, resume_state: dict[str, Any] | None) -> _SourcePartition:
        self.built.append(_SourcePartition(self, int(for_part), resume_state))
        return self.built[-1]

    def is_over(self) -> bool:
        """Whether nothing of a bounded run is left to be read."""
        return len(self.built) == self._count and all(part._is_done() for part in self.built)

    @cached_property
    def _count(self) -> int:
        return self.log.partitions(self.topic)


@keeps_failures
class _SourcePartition(StatefulSourcePartition[GroupBatch | ClockBatch, dict[str, Any]]):
    def __init__(self, source: LogSource, number: int, state: dict[str, Any] | None) -> None:
        position, largest = None, []
        if state is not None:
            if state["version"] > VERSION:
                raise RecoveryError(f"the recovery store is of a newer release (source {state['version']})")
            position, largest = state["position"], state["largest"]
        self._source = source
        self.telemetry = source.telemetry
        self._name = partition_name(number)
        self._is_first = number == 0
        self._watch = source.log.watch(source.topic) if self._is_first else lambda: None
        count = source.key_groups
        self._groups = [f"{self._name}/{group:04d}" for group in range(count)]
        if source.placed:
            self._groups = [placed(name, number * count + group) for group, name in enumerate(self._groups)]
        self._time = WatermarkTracker(source.stream_time_rank, largest)
        self._resumed = self._told_groups = self._time.now
        self._told_clock: PartitionProgress | None = None
        self._has_messages = source.log.end_offset(source.topic, number) > 0
        self._heard = time.monotonic()
        self._reader: PartitionReader = source.log.reader(source.topic, number, position, group=source.group)
        self._end = source.log.end_offset(source.topic, number) if source.exit_at_end else None
        self._inspection = Inspection(
            source.log, source.topic, number, self.telemetry, timestamps=source.event_time == "timestamp"
        )
        self._position = self._reader.position
        """Where to resume; not past the end of a bounded run, whatever the reader has fetched."""
        if state is not None:
            self._reader.commit(self._position)
        self._reading = self.telemetry.opened(number, self._position, self._time.now)
        self._taken: int | None = None
        """Position of the last snapshot, until it is known to be durable."""
        self._durable: int | None = None
        self._told_at: int | None = None
        """Position at which the groups were told of the end."""
        self._ends = False
        """Whether it ends with the flow."""
        self._drained = False
        self._awake: datetime | None = None

    def next_batch(self) -> list[GroupBatch | ClockBatch]:
        batch: list[GroupBatch | ClockBatch] = []
        if self._taken is not None:
            self._durable, self._taken = self._taken, None
            self._reader.commit(self._durable)
            self._reading.durable()
            if self._is_first:
                self._source.durable()
            self._watch()
            batch = [*self._tell_groups(_PROGRESS_STEP), *self._tell_clock()]
        elif self._told_clock is None and self._has_messages:
            self._told_clock = PartitionProgress(self._name, self._resumed, False)
            batch = [(CLOCK, self._told_clock)]  # each that has messages is known before any one's time counts
        if self._source.draining():
            if self._drained and self._durable == self._position:
                if self._source.drained is None:
                    raise AbortExecution
                (self._source.drained / self._name).touch()
            if not self._drained:  # wait for a snapshot from here on: then it covers the other partitions, too
                self._drained, self._durable = True, None
            return self._idle([])
        if self._is_done():
            if self._told_at != self._position:
                self._told_at, self._durable = self._position, None
                # to the last: what is due at the end of the log does not depend on epochs
                return batch + self._tell_groups(0)
            if self._source.ended is not None and self._source.is_over():
                if not self._ends:
                    self._ends = True
                    last = PartitionProgress(self._name, self._time.now, idle=False, last=True)
                    return [*batch, (CLOCK, last)] if self._has_messages else batch
                self._source.ended.append(self._end_durably)
                raise StopIteration
            if self._durable == self._position and not batch:
                raise StopIteration
            return self._idle(batch)
        columns = self._reader.columns(_BATCH)
        if columns is None:
            self._position = self._reading.position = self._reader.position
            return self._idle(batch)
        self._awake = None
        self._has_messages, self._heard = True, time.monotonic()
        self._inspection.look(columns)
        self._position = self._reader.position
        if self._end is not None and columns.offsets[-1] >= self._end:
            columns = columns.before(bisect_left(columns.offsets, self._end))
            self._position = self._end
        grouped = self._grouped(columns)
        self._reading.read(len(columns.offsets), self._position, self._time.now)
        return batch + grouped

    def _grouped(self, columns: LogColumns) -> list[GroupBatch | ClockBatch]:
        """The records by their key groups, with their watermarks."""
        offsets, timestamps, keys, values, headers = columns
        if self._source.event_time == "body":
            timestamps = [*map(body_time, values)]
        watermarks, read_at = self._time.observe_all(timestamps), time.time()
        if len(self._groups) == 1:
            return [(self._groups[0], RecordColumns(watermarks, offsets, keys, values, headers, timestamps, read_at))]
        lists: list[list[Any]] = [[] for _ in self._groups]
        fields = zip(watermarks, offsets, keys, values, headers, timestamps, strict=True)
        for number, record in zip(groups_of(keys, len(lists)), fields, strict=True):
            lists[number].append(record)
        return [(group, Timed(some, read_at)) for group, some in zip(self._groups, lists, strict=True) if some]

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> dict[str, Any]:
        self._taken = self._position
        self._reading.snapshot()
        return {"version": VERSION, "position": self._taken, "largest": self._time.snapshot()}

    def close(self) -> None:
        if not self._ends:
            self._reader.close()

    def _end_durably(self) -> None:
        self._reader.commit(self._position)
        self._reader.close()

    def _idle(self, batch: list[GroupBatch | ClockBatch]) -> list[GroupBatch | ClockBatch]:
        self._awake = datetime.now(UTC) + _IDLE
        return batch

    def _is_done(self) -> bool:
        return self._end is not None and (self._reader.at_end or self._position >= self._end)

    def _tell_groups(self, step: int) -> list[GroupBatch | ClockBatch]:
        """Tell the key groups how far this partition has come: each gets this after its records."""
        now = self._time.now
        if now == NO_WATERMARK or now - self._told_groups < step:
            return []
        self._told_groups = now
        return [(group, now) for group in self._groups]

    def _tell_clock(self) -> list[GroupBatch | ClockBatch]:
        """Tell the windows how far this partition has come.

        This goes another way than the trips and would overtake them; but in the first batch after a snapshot all that
        was read before the snapshot has arrived.
        """
        idle = self._reader.at_end and time.monotonic() - self._heard > self._source.idle_timeout.total_seconds()
        told = PartitionProgress(self._name, self._time.now, idle)
        if not self._has_messages or told == self._told_clock:
            return []
        self._told_clock = told
        return [(CLOCK, told)]
