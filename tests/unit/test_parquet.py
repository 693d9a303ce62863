"""Parquet files of trips: sorted alike in memory and on disk, identical rows distinguished, real files complete."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chillflow.errors import InputError
from chillflow.keyed.batches import Record
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.model.structs import as_dict
from chillflow.production import parquet
from chillflow.production.event_frames import event_frames
from chillflow.production.parquet import ParquetTrips
from chillflow.production.rejected import RejectedRow
from chillflow.production.replay import replay_columns
from chillflow.production.screening import Screen
from chillflow.production.splitting import Events, encode_events
from chillflow.production.trip_frames import TripRow
from tests.real_trips import GREEN, YELLOW, real_file, rows_of
from tests.trip_rows import rows_of as rows_in
from tests.unit.vocabulary import batch, group

NEW_YORK = "America/New_York"
Row: TypeAlias = dict[str, datetime | int | float | None]


def write(path: Path, rows: list[Row], row_group_size: int | None = None) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=row_group_size, compression="snappy")
    return path


def some_rows(count: int, seed: int = 1) -> list[Row]:
    """Unsorted rows: some at one time, some identical, some dropped off before their pickup, some that are no trips."""
    random = Random(seed)
    begin = datetime(2024, 1, 1)  # noqa: DTZ001
    rows: list[Row] = []
    for number in range(count):
        pickup = begin + timedelta(minutes=random.randrange(40))
        rows.append(
            {
                "tpep_pickup_datetime": pickup,
                "tpep_dropoff_datetime": pickup + timedelta(minutes=random.randrange(-5, 20)),
                "PULocationID": random.randrange(1, 4),
                "DOLocationID": 1,
                "passenger_count": 1.5 if number % 50 == 7 else 1.0,
                "surge": random.choice([None, 1.0, 1.5]),
            }
        )
    return rows + [dict(row) for row in rows[: count // 4]]


def trip_rows(path: Path) -> list[TripRow]:
    return [row for row in rows_in(ParquetTrips(path, NEW_YORK)) if not isinstance(row, RejectedRow)]


@pytest.mark.parametrize("bucket", [1, 7, 50, 124, 125])
@pytest.mark.parametrize("read", [3, 64])
def test_sorting_on_disk_equals_sorting_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: int, read: int
) -> None:
    path = write(tmp_path / "trips.parquet", some_rows(100), row_group_size=20)
    in_memory = [*rows_in(ParquetTrips(path, NEW_YORK))]
    monkeypatch.setattr(parquet, "_BUCKET_ROWS", bucket)
    monkeypatch.setattr(parquet, "_READ_ROWS", read)
    on_disk = [*rows_in(ParquetTrips(path, NEW_YORK))]
    assert on_disk == in_memory
    assert len(in_memory) == 125
    assert sum(isinstance(row, RejectedRow) for row in on_disk) == 3


def test_trips_are_in_the_order_of_their_earlier_time(tmp_path: Path) -> None:
    rows = trip_rows(write(tmp_path / "trips.parquet", some_rows(100)))
    firsts = [min(row[:2]) for row in rows]
    assert firsts == sorted(firsts)


def test_the_folder_for_sorting_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "trips.parquet", some_rows(100))
    monkeypatch.setattr(parquet, "_BUCKET_ROWS", 10)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    rows = rows_in(ParquetTrips(path, NEW_YORK))
    for row in rows:
        if not isinstance(row, RejectedRow):
            break
    assert [*(tmp_path / "scratch").iterdir()]
    rows.close()  # type: ignore[attr-defined]
    assert not [*(tmp_path / "scratch").iterdir()]


def test_identical_rows_are_different_trips(tmp_path: Path) -> None:
    (row, *_) = some_rows(1)
    other = {**row, "PULocationID": 99}
    keys = [row[2] for row in trip_rows(write(tmp_path / "a.parquet", [row, other, row, row]))]
    assert len(set(keys)) == 4
    # a key depends neither on other rows nor on its position
    assert {row[2] for row in trip_rows(write(tmp_path / "b.parquet", [row, row, row]))} < set(keys)
    assert [row[2] for row in trip_rows(write(tmp_path / "c.parquet", [row]))] == keys[:1]


def test_shuffled_rows_have_the_same_keys(tmp_path: Path) -> None:
    rows = some_rows(100)
    keys = {row[2] for row in trip_rows(write(tmp_path / "a.parquet", rows))}
    Random(3).shuffle(rows)
    assert {row[2] for row in trip_rows(write(tmp_path / "b.parquet", rows))} == keys
    assert len(keys) == 122


def test_an_empty_file_has_no_trips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "empty.parquet"
    pq.write_table(pa.Table.from_pylist(some_rows(4)).slice(0, 0), path)
    assert [*rows_in(ParquetTrips(path, NEW_YORK))] == []


@pytest.mark.parametrize("bucket", [1, 250_000])
def test_a_file_of_rejected_rows_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: int) -> None:
    monkeypatch.setattr(parquet, "_BUCKET_ROWS", bucket)
    rows = [{**row, "passenger_count": 1.5} for row in some_rows(4)]
    read = [*rows_in(ParquetTrips(write(tmp_path / "trips.parquet", rows), NEW_YORK))]
    assert [row.row for row in read if isinstance(row, RejectedRow)] == [0, 1, 2, 3, 4]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        ParquetTrips(tmp_path / "none.parquet", NEW_YORK)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"VendorID,pickup\n1,2\n"])
def test_a_file_that_is_not_parquet_is_an_error_of_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trips.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a readable parquet file") as caught:
        ParquetTrips(path, NEW_YORK)
    assert "\n" not in str(caught.value)


def test_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        ParquetTrips(tmp_path, NEW_YORK)


def test_a_damaged_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "trips.parquet", some_rows(1000))
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 3] = bytes(len(content) // 3 - 4)
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read near row") as caught:
        list(ParquetTrips(path, NEW_YORK).frames())
    assert "\n" not in str(caught.value)


def test_the_error_of_missing_columns_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "other.parquet", [{"a": 1}])
    with pytest.raises(InputError, match=r"other\.parquet: .*no column tpep_pickup_datetime"):
        ParquetTrips(path, NEW_YORK)


@pytest.fixture(params=[(GREEN, "lpep"), (YELLOW, "tpep")], ids=["green", "yellow"])
def real(request: pytest.FixtureRequest) -> tuple[Path, str, int]:
    name, prefix = request.param
    path = real_file(name)
    return path, prefix, rows_of(path)


def assembled(path: Path) -> pl.DataFrame:
    """The trips of a file, split into events and reassembled."""
    screen = Screen(datetime(2030, 1, 1, tzinfo=UTC), timedelta(hours=1), timedelta(days=8))
    items = [*replay_columns(event_frames(ParquetTrips(path, NEW_YORK).frames(), screen, origin=str(path)))]
    sent = [message for item in items if isinstance(item, Events) for message in encode_events(item, "events")]
    assert not any(isinstance(item, RejectedRow) for item in items)
    timestamps = [message.timestamp or 0 for message in sent]
    assert timestamps == sorted(timestamps)
    read = [Record(at, each.timestamp, each.key, each.value, None) for at, each in enumerate(sent)]
    decided = group().process([batch(read, NO_WATERMARK)])
    assert decided.tally["events_in_complete"] == len(sent)
    assert decided.tally["open_trips"] == 0
    return pl.DataFrame([as_dict(result.trip) for result in decided.results], infer_schema_length=None)


def test_every_value_of_a_real_file_is_reassembled(real: tuple[Path, str, int]) -> None:
    path, prefix, rows = real
    trips = assembled(path)
    assert trips.height == trips["trip_key"].n_unique() == rows
    names = {
        "VendorID": "vendor_id",
        "RatecodeID": "rate_code",
        "PULocationID": "pu_zone_id",
        "DOLocationID": "do_zone_id",
        "Airport_fee": "airport_fee",
        f"{prefix}_pickup_datetime": "pickup_ts",
        f"{prefix}_dropoff_datetime": "dropoff_ts",
    }
    source = pl.read_parquet(path).rename(names, strict=False)
    local = trips.with_columns(
        pl.col(name).dt.convert_time_zone(NEW_YORK).dt.replace_time_zone(None) for name in ("pickup_ts", "dropoff_ts")
    )
    ours = local.select(pl.col(name).cast(kind, strict=True) for name, kind in source.schema.items())
    everything = [*source.columns]
    assert ours.sort(everything).equals(source.sort(everything))
    others = set(trips.columns) - set(everything) - {"trip_key", "service", "revision", "distance_km"}
    others -= {"duration_min", "avg_speed_kmh"}
    assert all(trips[name].null_count() == rows for name in others)


def test_a_real_file_is_sorted_on_disk_as_in_memory(
    real: tuple[Path, str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, rows = real
    in_memory = [*rows_in(ParquetTrips(path, NEW_YORK))]
    assert len(in_memory) == rows
    monkeypatch.setattr(parquet, "_BUCKET_ROWS", rows // 6)
    assert [*rows_in(ParquetTrips(path, NEW_YORK))] == in_memory


def test_decimals_of_any_width_are_equal_to_floats(tmp_path: Path) -> None:
    rows: list[TripRow] = []
    kinds: list[pa.DataType] = [pa.decimal128(10, 2), pa.decimal256(60, 2), pa.float64()]
    for number, kind in enumerate(kinds):
        table = pa.table(
            {
                "tpep_pickup_datetime": pa.array([datetime(2024, 1, 1)], pa.timestamp("us")),  # noqa: DTZ001
                "tpep_dropoff_datetime": pa.array([datetime(2024, 1, 1, 1)], pa.timestamp("us")),  # noqa: DTZ001
                "PULocationID": [1],
                "DOLocationID": [2],
                "fare_amount": pa.array([12.8 if pa.types.is_floating(kind) else Decimal("12.80")], kind),
                "new_fee": pa.array([0.1 if pa.types.is_floating(kind) else Decimal("0.10")], kind),
            }
        )
        pq.write_table(table, tmp_path / f"{number}.parquet")
        rows += rows_in(ParquetTrips(tmp_path / f"{number}.parquet", NEW_YORK))
    assert rows[0] == rows[1] == rows[2]
