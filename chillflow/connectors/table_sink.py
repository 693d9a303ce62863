"""The sink step for `stg.complete_trip`: whole batches, each in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from chillflow.connectors.source import partition_name
from chillflow.connectors.tables import Database, Row

__all__ = ["TableSink"]

_BATCH_ROWS = 5_000
_BATCH_SECONDS = 0.2


@dataclass(frozen=True)
class TableSink(FixedPartitionedSink[list[Row], None]):
    """Upserts lists of rows, keyed by partition; one connection each, or one in all where only one can write."""

    connect: Callable[[], Database]
    partitions: int

    def list_parts(self) -> list[str]:
        return [partition_name(number) for number in range(self.partitions)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:
        return _Partition(self.connect())


class _Partition(StatefulSinkPartition[list[Row], None]):
    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: list[Row] = []
        self._written = time.monotonic()

    def write_batch(self, values: list[list[Row]]) -> None:
        for rows in values:
            self._rows += rows
        if len(self._rows) >= _BATCH_ROWS or time.monotonic() - self._written > _BATCH_SECONDS:
            self._write()

    def snapshot(self) -> None:
        # the recovery store must never be ahead of the table
        self._write()

    def close(self) -> None:
        self._database.close()

    def _write(self) -> None:
        if self._rows:
            newest: dict[str, Row] = {}  # of a trip's revisions in one batch only the last can be upserted
            for row in self._rows:
                newest[row[0]] = row
            self._database.upsert([*newest.values()])
            self._rows.clear()
        self._written = time.monotonic()
