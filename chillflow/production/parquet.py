"""Parquet files of trips -> rows in the order of their first time, keyed; sorted by way of disk if need be."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from chillflow.errors import InputError
from chillflow.model.codec import encode_value
from chillflow.model.trips import canonical_extra
from chillflow.production.bulk import keyed, rows
from chillflow.production.replay import RejectedRow
from chillflow.production.splitting import TripRow
from chillflow.production.tlc import REASON, ROW, Layout, Trips, layout_of, to_trips, with_texts

__all__ = ["ParquetTrips"]

_READ_ROWS = 65_536
_BUCKET_ROWS = 50_000
"""Rows sorted in memory at a time: so few that the next ones are ready while these are sent."""
_MOST_BUCKETS = 500
"""Files that are open at the same time; of a file with very many rows buckets are larger."""
_SAMPLED = 16
"""One row in so many tells where to cut: all of them would tell no better, and take 3 % of the production."""
_NEEDED = ("pickup_ts", "dropoff_ts", "pu_zone_id", "do_zone_id")
_FIRST = pl.min_horizontal("pickup_us", "dropoff_us").alias("first_us")


class ParquetTrips:
    """The trips of one parquet file. Raises InputError if it cannot be read or holds no taxi trips.

    Iterating gives each row once, as a TripRow in the order of the earlier of its two times (of one time, in
    the order of the file), or as a RejectedRow.
    """

    def __init__(self, path: Path, time_zone: str) -> None:
        self.path = path
        self.time_zone = time_zone
        try:
            self._file = pq.ParquetFile(path)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is not a readable parquet file: {str(error).splitlines()[0]}") from error
        try:
            self._layout = layout_of(self._file.schema_arrow.names)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        self.total: int = self._file.metadata.num_rows
        self._bucket_rows = max(_BUCKET_ROWS, self.total // _MOST_BUCKETS)
        self.ambiguous_times = 0
        self.missing_times = 0

    def __iter__(self) -> Iterator[TripRow | RejectedRow]:
        for item in self.frames():
            if isinstance(item, RejectedRow):
                yield item
            else:
                yield from rows(item)

    def frames(self) -> Iterator[pl.DataFrame | RejectedRow]:
        """The same with the rows in frames, as `bulk.py` takes them."""
        self.ambiguous_times = self.missing_times = 0
        if self.total <= self._bucket_rows:
            frames: list[pl.DataFrame] = []
            for trips in self._read(self._layout):
                yield from self._rejected(trips)
                frames.append(trips.trips)
            if frames:
                yield _ordered(pl.concat(frames))
            return
        with tempfile.TemporaryDirectory(prefix="chillflow-sort-") as folder:
            yield from self._sorted_on_disk(Path(folder))

    def _sorted_on_disk(self, folder: Path) -> Iterator[pl.DataFrame | RejectedRow]:
        """A bucket sort: rows go to the file of their stretch of time, then each file is sorted in memory.

        The stretches are cut so that each holds about as many rows; identical rows share their times,
        so they meet in one bucket and can be numbered there.
        """
        bounds = self._bounds()
        writers: dict[int, pa.RecordBatchFileWriter] = {}
        for trips in self._read(self._layout):
            yield from self._rejected(trips)
            cut = trips.trips.with_columns(
                pl.Series("bucket", bounds.search_sorted(trips.trips.select(_FIRST).to_series(), side="right"))
            )
            for (bucket,), frame in cut.partition_by("bucket", as_dict=True, include_key=False).items():
                table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
                if bucket not in writers:
                    writers[bucket] = pa.ipc.new_file(str(folder / f"{bucket}.arrow"), table.schema)
                writers[bucket].write_table(table)
        for writer in writers.values():
            writer.close()
        for bucket in sorted(writers):
            path = folder / f"{bucket}.arrow"
            with pa.OSFile(str(path), "rb") as file:
                frame = pl.DataFrame(pl.from_arrow(pa.ipc.open_file(file).read_all()))
            yield _ordered(frame)
            path.unlink()

    def _bounds(self) -> pl.Series:
        """Times between the buckets, from a first pass over some of the rows, and the columns every trip needs."""
        every = min(_SAMPLED, self._bucket_rows)
        needed = {field: column for field, column in self._layout.fields.items() if field in _NEEDED}
        layout = Layout(None, needed, ())
        read = self._read(layout, [*needed.values()], every)
        firsts = [trips.trips.select(_FIRST).to_series() for trips in read]
        ordered = pl.concat(firsts).sort()
        step = self._bucket_rows // every
        return ordered.gather_every(step, offset=step).unique().sort()

    def _read(self, layout: Layout, columns: list[str] | None = None, every: int = 1) -> Iterator[Trips]:
        number = 0
        try:
            for batch in self._file.iter_batches(batch_size=_READ_ROWS, columns=columns):
                frame = pl.DataFrame(pl.from_arrow(_without_decimal256(batch))).with_row_index(ROW, offset=number)
                number += frame.height
                yield to_trips(frame.gather_every(every), layout, self.time_zone)
        except (pa.ArrowException, OSError, pl.exceptions.PolarsError) as error:
            line = str(error).splitlines()[0]
            raise InputError(f"{self.path}: cannot be read near row {number}: {line}") from error

    def _rejected(self, trips: Trips) -> Iterator[RejectedRow]:
        self.ambiguous_times += trips.ambiguous_times
        self.missing_times += trips.missing_times
        for values in trips.rejected.iter_rows(named=True):
            row, reason = values.pop(ROW), values.pop(REASON)
            yield RejectedRow(str(self.path), row, reason, encode_value(canonical_extra(values)))


def _without_decimal256(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Polars does not know decimals that wide. By way of text the nearest float is found, as for any other type."""
    for position, field in enumerate(batch.schema):
        if pa.types.is_decimal256(field.type):
            floats = batch.column(position).cast(pa.string()).cast(pa.float64())
            batch = batch.set_column(position, field.name, floats)
    return batch


def _ordered(trips: pl.DataFrame) -> pl.DataFrame:
    return keyed(with_texts(trips.sort(_FIRST, ROW).drop(ROW)))
