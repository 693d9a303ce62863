"""The sink of the tables: upserts of batches of rows, each in one transaction in the background."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from operator import itemgetter

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from chillflow.connectors.background import BackgroundWriter, pause_after
from chillflow.connectors.database import Database
from chillflow.keyed.placement import partition_name
from chillflow.model.table_rows import Retire, Row, Rows, Table
from chillflow.telemetry import Telemetry
from chillflow.telemetry.clocks import Clocks
from chillflow.telemetry.failures import keeps_failures

__all__ = ["TableSink"]

_BATCH_ROWS = 5_000
_BATCH_SECONDS = 0.2
_SHARE = 0.2
"""The largest share of the time a partition may spend writing: slow writes in a replay lead to larger batches."""


@keeps_failures
@dataclass(frozen=True)
class TableSink(FixedPartitionedSink[Rows | Retire, None]):
    """Upserts rows and deletes retired windows, in input order.

    Keyed by partition, with a connection each; `partitions` is 1 for a database with a single writer.
    """

    connect: Callable[[], Database]
    partitions: int
    telemetry: Telemetry = field(default_factory=Telemetry, repr=False, compare=False)
    clocks: Clocks = field(default=Clocks(), repr=False, compare=False)
    built: list[_TablePartition] = field(default_factory=list, init=False, repr=False, compare=False)
    """Partitions built in this process."""

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
        self._rows: defaultdict[Table, dict[object, Row]] = defaultdict(dict)
        """Pending rows by table and key: an upsert takes one row per key, so the last one wins."""
        self._monotonic = sink.clocks.monotonic
        self._written = self._monotonic()
        """When the last write began."""
        self._took = 0.0
        """Seconds the last write took."""
        self._background = BackgroundWriter()

    def write_batch(self, values: list[Rows | Retire]) -> None:
        for item in values:
            if isinstance(item, Retire):
                self._write()
                self._background.start(partial(self._database.retire_windows, item.before))
                continue
            for table, rows in item.items():
                self._rows[table].update(zip(map(_key_of(table), rows), rows, strict=True))
        pause = pause_after(self._took, share=_SHARE, least=_BATCH_SECONDS)
        if sum(map(len, self._rows.values())) >= _BATCH_ROWS or self._monotonic() - self._written > pause:
            self._write()

    def snapshot(self) -> None:
        for part in self._sink.built:  # snapshots are taken one by one: let all partitions write at once
            part._write()
        self._background.wait()  # the recovery store must never be ahead of the table

    def close(self) -> None:
        self._background.end(self._database.close)  # in its thread, which may still be using the connection

    def _write(self) -> None:
        if self._rows:
            self._background.start(
                partial(self._upsert, {table: [*rows.values()] for table, rows in self._rows.items()})
            )
            self._rows.clear()
        self._written = self._monotonic()

    def _upsert(self, rows: Rows) -> None:
        start = self._monotonic()
        with self.telemetry.deliveries.delivering("table", sum(map(len, rows.values()))):
            self._database.upsert(rows)
        self._took = self._monotonic() - start


@cache
def _key_of(table: Table) -> Callable[[Row], object]:
    """Getter of a row's key, its first columns."""
    return itemgetter(*range(len(table.key)))
