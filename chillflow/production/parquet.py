"""Parquet files -> frames of keyed trips in the order of FIRST_TIME; large files are sorted on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from chillflow.errors import InputError
from chillflow.production.keying import with_trip_keys
from chillflow.production.rejected import RejectedRow
from chillflow.production.tlc import NEEDED, ROW, Layout, Trips, layout_of, rejected_rows, to_trips
from chillflow.production.trip_frames import FIRST_TIME, with_time_texts

__all__ = ["ParquetTrips"]

_READ_ROWS = 65_536
_BUCKET_ROWS = 50_000
"""Rows sorted in memory at a time: few enough that the next bucket is ready before this one is sent."""
_MOST_BUCKETS = 500
"""Files open at the same time: beyond 25 million rows the buckets get larger instead."""
_SAMPLED = 16
"""One row in this many decides where to cut: reading all rows cuts no better and takes 3 % of production."""


class ParquetTrips:
    """The trips of one parquet file. Raises InputError if it cannot be read or holds no taxi trips."""

    def __init__(self, path: Path, time_zone: str) -> None:
        self.path = path
        self.origin = str(path)
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

    def frames(self) -> Iterator[pl.DataFrame | RejectedRow]:
        """Frames of trips ordered by FIRST_TIME, then by place in the file, and each row that is no trip."""
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
        """Bucket sort: each row goes to the file of its time range, then each file is sorted in memory.

        The ranges hold about equally many rows. Identical rows have equal times, so they share a bucket, where their
        trip_keys can be numbered.
        """
        bounds = self._bounds()
        writers: dict[int, pa.RecordBatchFileWriter] = {}
        for trips in self._read(self._layout):
            yield from self._rejected(trips)
            cut = trips.trips.with_columns(
                pl.Series("bucket", bounds.search_sorted(trips.trips.select(FIRST_TIME).to_series(), side="right"))
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
        """The times between the buckets, from a first pass over a sample of the rows and the columns it needs."""
        every = min(_SAMPLED, self._bucket_rows)
        needed = {field: column for field, column in self._layout.fields.items() if field in NEEDED}
        layout = Layout(None, needed, ())
        read = self._read(layout, [*needed.values()], every)
        firsts = [trips.trips.select(FIRST_TIME).to_series() for trips in read]
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
        yield from rejected_rows(trips.rejected, self.origin, ROW)


def _without_decimal256(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with 256-bit decimals, which Polars lacks, as floats; the cast through text gives the nearest ones."""
    for position, field in enumerate(batch.schema):
        if pa.types.is_decimal256(field.type):
            floats = batch.column(position).cast(pa.string()).cast(pa.float64())
            batch = batch.set_column(position, field.name, floats)
    return batch


def _ordered(trips: pl.DataFrame) -> pl.DataFrame:
    return with_trip_keys(with_time_texts(trips.sort(FIRST_TIME, ROW).drop(ROW)))
