"""The sink step for the tables: whole batches, each in one transaction, which is under way while the flow goes on."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from operator import itemgetter
from typing import Any

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from chillflow.connectors.background import BackgroundWriter, pause_after
from chillflow.connectors.database import Database
from chillflow.keyed.placement import partition_name
from chillflow.model.table_rows import Retire, Row, Rows, Table
from chillflow.telemetry import Telemetry
from chillflow.telemetry.failures import keeps_failures

__all__ = ["TableSink"]

_BATCH_ROWS = 5_000
_BATCH_SECONDS = 0.2
_SHARE = 0.2
"""Of the time that each partition's writing may take at most: in a replay, when it takes long, batches are larger."""


@keeps_failures
@dataclass(frozen=True)
class TableSink(FixedPartitionedSink[Rows | Retire, None]):
    """Upserts rows by table and retires windows, in the order in which it is told.

    Keyed by partition; one connection each, or one in all where only one can write.
    """

    connect: Callable[[], Database]
    partitions: int
    telemetry: Telemetry = field(default_factory=Telemetry, repr=False, compare=False)
    """Of the run that writes."""
    built: list[_TablePartition] = field(default_factory=list, init=False, repr=False, compare=False)
    """The partitions of this process."""

    def list_parts(self) -> list[str]:
        return [partition_name(number) for number in range(self.partitions)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _TablePartition:
        self.built.append(_TablePartition(self))
        return self.built[-1]


@keeps_failures
class _TablePartition(StatefulSinkPartition[Rows | Retire, None]):
    def __init__(self, sink: TableSink) -> None:
        self._sink = sink
        self.telemetry = sink.telemetry
        self._database = sink.connect()
        self._rows: defaultdict[Table, dict[Any, Row]] = defaultdict(dict)
        """By table and key: of the rows of one key in one batch only the last can be upserted."""
        self._written = time.monotonic()
        self._took = 0.0
        """Seconds of the last writing."""
        self._beside = BackgroundWriter()

    def write_batch(self, values: list[Rows | Retire]) -> None:
        for item in values:
            if isinstance(item, Retire):
                self._write()
                self._beside.start(partial(self._database.retire_windows, item.before))
                continue
            for table, rows in item.items():
                self._rows[table].update(zip(map(_key_of(table), rows), rows, strict=True))
        pause = pause_after(self._took, share=_SHARE, least=_BATCH_SECONDS)
        if sum(map(len, self._rows.values())) >= _BATCH_ROWS or time.monotonic() - self._written > pause:
            self._write()

    def snapshot(self) -> None:
        for part in self._sink.built:  # snapshots come one after the other: let all write at the same time
            part._write()
        self._beside.wait()  # the recovery store must never be ahead of the table

    def close(self) -> None:
        self._beside.end(self._database.close)  # in its thread: a client may not be closed while another one uses it

    def _write(self) -> None:
        if self._rows:
            self._beside.start(partial(self._upsert, {table: [*rows.values()] for table, rows in self._rows.items()}))
            self._rows.clear()
        self._written = time.monotonic()

    def _upsert(self, rows: Rows) -> None:
        start = time.monotonic()
        with self.telemetry.deliveries.delivering("table", sum(map(len, rows.values()))):
            self._database.upsert(rows)
        self._took = time.monotonic() - start


@cache
def _key_of(table: Table) -> Callable[[Row], Any]:
    """Gives what tells a row from the others."""
    return itemgetter(*range(len(table.key)))
