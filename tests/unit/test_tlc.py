"""Columns of any Parquet type are read alike; a value that does not fit rejects only its row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chillflow.errors import InputError
from chillflow.model.trips import CompleteTrip
from chillflow.production.parquet import ParquetTrips
from chillflow.production.rejected import RejectedRow
from chillflow.production.tlc import layout_of
from chillflow.production.trip_frames import ROW_FIELDS, TripRow
from tests.trip_rows import rows_of

NEW_YORK = "America/New_York"
ROW: dict[str, Any] = {
    "VendorID": 2,
    "lpep_pickup_datetime": datetime(2024, 1, 1, 0, 46, 55),  # noqa: DTZ001
    "lpep_dropoff_datetime": datetime(2024, 1, 1, 0, 58, 25),  # noqa: DTZ001
    "store_and_fwd_flag": "N",
    "RatecodeID": 1,
    "PULocationID": 236,
    "DOLocationID": 239,
    "passenger_count": 1,
    "trip_distance": 1.98,
    "fare_amount": 12.8,
    "extra": 1.0,
    "tip_amount": 3.61,
    "total_amount": 21.66,
    "payment_type": 1,
    "trip_type": 1,
}
Row = dict[str, Any]


def read(tmp_path: Path, table: pa.Table, time_zone: str = NEW_YORK) -> list[Row | RejectedRow]:
    """The rows of a file with this table, each as a dict of its non-null values."""
    path = tmp_path / "trips.parquet"
    pq.write_table(table, path)
    return [
        row
        if isinstance(row, RejectedRow)
        else {name: value for name, value in zip(ROW_FIELDS, row, strict=True) if value is not None}
        for row in rows_of(ParquetTrips(path, time_zone))
    ]


def table(columns: dict[str, object], **others: object) -> pa.Table:
    """A table of one row, from Arrow arrays or plain values."""
    return pa.table(
        {
            name: value if isinstance(value, pa.Array) else pa.array([value])
            for name, value in {**columns, **others}.items()
            if value is not ...
        }
    )


def one(tmp_path: Path, **others: object) -> Row:
    """The row with some columns replaced (`...` removes one)."""
    (row,) = read(tmp_path, table(ROW, **others))
    assert isinstance(row, dict), row
    return row


def reason(tmp_path: Path, **others: object) -> str:
    """Why the row with some columns replaced is rejected."""
    (row,) = read(tmp_path, table(ROW, **others))
    assert isinstance(row, RejectedRow), row
    assert row.row == 0
    return row.reason


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Row:
    return one(tmp_path_factory.mktemp("plain"))


def test_a_row_is_read_with_all_its_fields(plain: Row) -> None:
    assert plain == {
        "pickup_us": 1704088015000000,
        "dropoff_us": 1704088705000000,
        "trip_key": "2b1ebafeebe72b971e4218ae3acc34e79aaa55c4140b447709a42ec1910f94d4",
        "service": "green",
        "vendor_id": 2,
        "pickup_ts": "2024-01-01T05:46:55Z",
        "dropoff_ts": "2024-01-01T05:58:25Z",
        "pu_zone_id": 236,
        "do_zone_id": 239,
        "passenger_count": 1,
        "rate_code": 1,
        "store_and_fwd_flag": "N",
        "trip_type": 1,
        "trip_distance": 1.98,
        "payment_type": 1,
        "fare_amount": 12.8,
        "extra": 1.0,
        "tip_amount": 3.61,
        "total_amount": 21.66,
    }


def test_a_model_of_the_same_content_has_the_same_key(plain: Row) -> None:
    fields = {name: value for name, value in plain.items() if name in CompleteTrip.model_fields and name != "trip_key"}
    assert CompleteTrip(**fields).trip_key == plain["trip_key"]


def arrow(value: Any, kind: pa.DataType) -> pa.Array[Any]:
    if pa.types.is_decimal(kind) and value is not None:
        return pa.array([Decimal(str(value))], kind)
    array: pa.Array[Any] = pa.array([value]).cast(kind)
    return array


INTEGERS = [pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
NUMBERS = [pa.float32(), pa.float64(), pa.string(), pa.large_string(), pa.binary(), pa.decimal128(12, 2)]


@pytest.mark.parametrize("kind", [*INTEGERS, *NUMBERS], ids=str)
@pytest.mark.parametrize("name", ["VendorID", "RatecodeID", "PULocationID", "passenger_count", "payment_type"])
def test_integers_of_any_type_are_read_alike(tmp_path: Path, plain: Row, name: str, kind: pa.DataType) -> None:
    array = pa.array([str(ROW[name]).encode()]) if kind == pa.binary() else arrow(ROW[name], kind)
    assert one(tmp_path, **{name: array}) == plain


@pytest.mark.parametrize("kind", NUMBERS, ids=str)
@pytest.mark.parametrize("name", ["trip_distance", "fare_amount", "extra", "tip_amount", "total_amount"])
def test_amounts_of_any_type_are_read_alike(tmp_path: Path, plain: Row, name: str, kind: pa.DataType) -> None:
    array = pa.array([str(ROW[name]).encode()]) if kind == pa.binary() else arrow(ROW[name], kind)
    assert one(tmp_path, **{name: array}) == plain


@pytest.mark.parametrize("text", ["2", "2.0", " 2 ", "2e0", "+2"])
def test_numbers_as_text_are_read(tmp_path: Path, plain: Row, text: str) -> None:
    assert one(tmp_path, VendorID=text) == plain


@pytest.mark.parametrize("name", ["VendorID", "fare_amount", "store_and_fwd_flag"])
def test_dictionary_columns_are_read(tmp_path: Path, plain: Row, name: str) -> None:
    assert one(tmp_path, **{name: pa.array([ROW[name]]).dictionary_encode()}) == plain
    assert one(tmp_path, **{name: pa.array([str(ROW[name])]).dictionary_encode()}) == plain


def test_amounts_of_any_type_have_the_same_keys(tmp_path: Path) -> None:
    cents = [*range(-500, 3000), *range(99_000, 101_000), 9_999_999]
    decimals = [Decimal(cent) / 100 for cent in cents]
    columns = {name: pa.array([value] * len(cents)) for name, value in ROW.items()}
    columns["passenger_count"] = pa.array(range(len(cents)))
    keys: list[set[str]] = []
    for array in (
        pa.array([cent / 100 for cent in cents]),
        pa.array(decimals, pa.decimal128(12, 2)),
        pa.array(decimals, pa.decimal128(30, 10)),
        pa.array([str(value) for value in decimals]),
        pa.array([cent / 100 for cent in cents], pa.float32()),
    ):
        rows = read(tmp_path, pa.table({**columns, "fare_amount": array}))
        keys.append({row["trip_key"] for row in rows if isinstance(row, dict)})
        assert len(keys[-1]) == len(cents)
        assert keys[-1] == keys[0]


PICKUP = ROW["lpep_pickup_datetime"]


@pytest.mark.parametrize(
    "array",
    [
        *(pa.array([PICKUP]).cast(pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")),
        *(
            pa.array([datetime.fromisoformat("2024-01-01T05:46:55+00:00")]).cast(pa.timestamp(unit, zone))
            for unit in ("ms", "us", "ns")
            for zone in ("UTC", NEW_YORK, "+03:00")
        ),
        *(
            pa.array([text])
            for text in (
                "2024-01-01T00:46:55",
                "2024-01-01 00:46:55",
                "2024-01-01 00:46:55.000000",
                "01/01/2024 12:46:55 AM",
                "2024-01-01T05:46:55Z",
                "2024-01-01 05:46:55+00:00",
                "2024-01-01 05:46:55+00",
                "2023-12-31T23:46:55.000-0600",
                " 2024-01-01 00:46:55 ",
            )
        ),
        pa.array(["2024-01-01 00:46:55"]).dictionary_encode(),
    ],
    ids=lambda array: f"{array.type} {array[0]}",
)
def test_times_of_any_type_are_read_alike(tmp_path: Path, plain: Row, array: pa.Array[Any]) -> None:
    assert one(tmp_path, lpep_pickup_datetime=array) == plain


def test_a_date_is_its_midnight(tmp_path: Path) -> None:
    row = one(tmp_path, lpep_pickup_datetime=date(2024, 1, 1))
    assert row["pickup_ts"] == "2024-01-01T05:00:00Z"


def test_microseconds_are_kept(tmp_path: Path) -> None:
    row = one(tmp_path, lpep_pickup_datetime=pa.array([PICKUP.replace(microsecond=120)]))
    assert row["pickup_ts"] == "2024-01-01T05:46:55.000120Z"
    assert row["pickup_us"] % 1_000_000 == 120


@pytest.mark.parametrize("name", ["VendorID", "passenger_count", "fare_amount", "store_and_fwd_flag", "payment_type"])
def test_null_missing_and_nan_give_the_same_key(tmp_path: Path, name: str) -> None:
    missing = one(tmp_path, **{name: ...})
    kinds: list[pa.DataType] = [pa.null(), pa.string()]
    if name != "store_and_fwd_flag":
        kinds += [pa.int64(), pa.float64(), pa.decimal128(5, 2), pa.float32()]
    for kind in kinds:
        assert one(tmp_path, **{name: arrow(None, kind)}) == missing, kind
    if name != "store_and_fwd_flag":
        assert one(tmp_path, **{name: pa.array([math.nan])}) == missing
        assert one(tmp_path, **{name: pa.array([math.nan], pa.float32())}) == missing


def test_minus_zero_is_zero(tmp_path: Path) -> None:
    assert one(tmp_path, extra=-0.0) == one(tmp_path, extra=0) == one(tmp_path, extra="-0")


def test_case_and_order_of_columns_do_not_matter(tmp_path: Path, plain: Row) -> None:
    (row,) = read(tmp_path, table({name.upper(): value for name, value in reversed(ROW.items())}))
    assert row == plain


def test_airport_fee_has_two_spellings(tmp_path: Path) -> None:
    assert one(tmp_path, Airport_fee=1.75) == one(tmp_path, airport_fee=1.75)
    both = one(tmp_path, Airport_fee=1.75, airport_fee=0.0)
    assert (both["airport_fee"], both["extra_columns"]) == (1.75, {"airport_fee": 0})


def test_the_pickup_column_tells_the_service(tmp_path: Path) -> None:
    (row,) = read(tmp_path, table({name.replace("lpep", "tpep"): value for name, value in ROW.items()}))
    assert isinstance(row, dict)
    assert row["service"] == "yellow"


@pytest.mark.parametrize(
    ("value", "carried"),
    [
        (1, 1),
        (1.0, 1),
        (pa.array([1.0], pa.float32()), 1),
        (12.8, 12.8),
        (pa.array([12.8], pa.float32()), 12.8),
        (pa.array([Decimal("12.80")], pa.decimal128(10, 2)), 12.8),
        (2**60, 2**60),
        (2.0**60, 2**60),
        (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
        (pa.array([Decimal(10) ** 30], pa.decimal128(38, 0)), 1e30),
        ("text é \0", "text é \0"),
        (True, True),
        (pa.array([b"\xff"]), "\\xff"),
        (date(2024, 1, 2), "2024-01-02"),
        (PICKUP, "2024-01-01T00:46:55"),
        (pa.array([PICKUP]).cast(pa.timestamp("ns")), "2024-01-01T00:46:55"),
        (pa.array([PICKUP]).cast(pa.timestamp("ms", "UTC")), "2024-01-01T00:46:55Z"),
        (pa.array([{"b": 1.0, "a": [1.5, None], "c": None}]), {"a": [1.5, None], "b": 1}),
        (pa.array(["x"]).dictionary_encode(), "x"),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["surge", "row", "reason", "trip_key", "extra_columns", "Service", "distance_km"])
def test_unknown_columns_become_extra_columns(
    tmp_path: Path, plain: Row, name: str, value: object, carried: object
) -> None:
    row = one(tmp_path, **{name: value})
    extra = row.pop("extra_columns")
    assert extra == {name: carried}
    assert type(extra[name]) is type(carried)
    key = row.pop("trip_key")
    assert row == {name: value for name, value in plain.items() if name != "trip_key"}
    assert key != plain["trip_key"]


@pytest.mark.parametrize("value", [None, math.nan, math.inf, pa.array([math.nan], pa.float32()), pa.nulls(1)], ids=str)
def test_unknown_columns_without_a_value_are_dropped(tmp_path: Path, plain: Row, value: object) -> None:
    assert one(tmp_path, surge=value) == plain


def test_unknown_integers_of_any_type_have_one_key(tmp_path: Path) -> None:
    keys = {one(tmp_path, surge=value)["trip_key"] for value in (3, 3.0, pa.array([3], pa.int8()), Decimal("3.00"))}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"passenger_count": 1.5}, "passenger_count: 1.5 is not a 32-bit integer"),
        ({"passenger_count": "two"}, "passenger_count: two is not a 32-bit integer"),
        ({"passenger_count": 2**31}, "passenger_count: 2147483648 is not a 32-bit integer"),
        ({"passenger_count": math.inf}, "passenger_count: inf is not a 32-bit integer"),
        ({"fare_amount": math.inf}, "fare_amount: inf is not a finite number"),
        ({"fare_amount": -math.inf}, "fare_amount: -inf is not a finite number"),
        ({"fare_amount": "1e999"}, "fare_amount: 1e999 is not a finite number"),
        ({"fare_amount": "free"}, "fare_amount: free is not a finite number"),
        ({"PULocationID": None}, "pu_zone_id: missing"),
        ({"DOLocationID": math.nan}, "do_zone_id: missing"),
        ({"lpep_pickup_datetime": pa.nulls(1, pa.timestamp("us"))}, "pickup_ts: missing"),
        ({"lpep_pickup_datetime": pa.nulls(1)}, "pickup_ts: missing"),
        ({"lpep_dropoff_datetime": "yesterday"}, "dropoff_ts: yesterday is not a time since 1970"),
        ({"lpep_dropoff_datetime": 1704088015}, "dropoff_ts: 1704088015 is not a time since 1970"),
        ({"lpep_dropoff_datetime": "2024-02-30T00:00:00"}, "dropoff_ts: 2024-02-30T00:00:00 is not a time since 1970"),
        ({"lpep_dropoff_datetime": "2024-01-01"}, "dropoff_ts: 2024-01-01 is not a time since 1970"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_value_that_does_not_fit_rejects_the_row(tmp_path: Path, columns: dict[str, object], why: str) -> None:
    assert reason(tmp_path, **columns) == why


def test_a_time_before_1970_or_with_nanoseconds_rejects_the_row(tmp_path: Path) -> None:
    old = datetime(1969, 12, 31)  # noqa: DTZ001
    assert "not a time since 1970" in reason(tmp_path, lpep_dropoff_datetime=old)
    nanosecond = pa.array([1704088015000000001], pa.int64()).cast(pa.timestamp("ns"))
    assert "in whole microseconds" in reason(tmp_path, lpep_dropoff_datetime=nanosecond)


def test_only_the_row_that_does_not_fit_is_rejected(tmp_path: Path, plain: Row) -> None:
    columns: dict[str, Sequence[object]] = {name: [value] * 4 for name, value in ROW.items()}
    columns["passenger_count"] = [1.0, 1.5, math.nan, math.inf]
    columns["row"] = columns["reason"] = ["a", "b", "c", "d"]
    bad, worse, good, none = read(tmp_path, pa.table(columns))
    assert isinstance(bad, RejectedRow)
    assert isinstance(worse, RejectedRow)
    assert isinstance(good, dict)
    assert isinstance(none, dict)
    assert (bad.row, worse.row) == (1, 3)
    assert bad.reason == "passenger_count: 1.5 is not a 32-bit integer"
    assert b'"passenger_count":1.5' in (bad.value or b"")
    assert b'"reason":"b"' in (bad.value or b"")
    assert b'"row":"b"' in (bad.value or b"")
    assert (good["passenger_count"], good["extra_columns"]) == (1, {"row": "a", "reason": "a"})
    assert "passenger_count" not in none


@pytest.mark.parametrize(
    ("wall", "utc", "ambiguous", "missing"),
    [
        ("2024-11-03T00:59:59", "2024-11-03T04:59:59Z", 0, 0),
        ("2024-11-03T01:00:00", "2024-11-03T05:00:00Z", 1, 0),
        ("2024-11-03T01:59:59", "2024-11-03T05:59:59Z", 1, 0),
        ("2024-11-03T02:00:00", "2024-11-03T07:00:00Z", 0, 0),
        ("2024-03-10T01:59:59", "2024-03-10T06:59:59Z", 0, 0),
        ("2024-03-10T02:00:00", "2024-03-10T07:00:00Z", 0, 1),
        ("2024-03-10T02:59:59", "2024-03-10T07:59:59Z", 0, 1),
        ("2024-03-10T03:00:00", "2024-03-10T07:00:00Z", 0, 0),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_ambiguous_and_missing_hours_are_resolved_and_counted(
    tmp_path: Path, wall: str, utc: str, ambiguous: int, missing: int, as_text: bool
) -> None:
    path = tmp_path / "trips.parquet"
    pq.write_table(table(ROW, lpep_dropoff_datetime=wall if as_text else datetime.fromisoformat(wall)), path)
    file = ParquetTrips(path, NEW_YORK)
    for _ in range(2):  # counted anew by each read
        (row,) = rows_of(file)
        assert row[ROW_FIELDS.index("dropoff_ts")] == utc
        assert (file.ambiguous_times, file.missing_times) == (ambiguous, missing)
    values = dict(zip(ROW_FIELDS, row, strict=True))
    model = CompleteTrip(**{name: values[name] for name in ROW_FIELDS[3:] if name != "dropoff_ts"}, dropoff_ts=wall)
    assert model.trip_key == values["trip_key"]


def test_times_are_read_in_the_given_zone(tmp_path: Path) -> None:
    (row,) = read(tmp_path, table(ROW), "Europe/Berlin")
    assert isinstance(row, dict)
    assert row["pickup_ts"] == "2023-12-31T23:46:55Z"


def test_for_hire_files_are_refused() -> None:
    for column in ("hvfhs_license_num", "dispatching_base_num"):
        with pytest.raises(InputError, match="fhv"):
            layout_of([column, "pickup_datetime", "PULocationID"])


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        (["a"], "tpep_pickup_datetime, tpep_dropoff_datetime, pulocationid, dolocationid"),
        (["lpep_pickup_datetime", "PULocationID"], "lpep_dropoff_datetime, dolocationid"),
        (["tpep_pickup_datetime", "tpep_dropoff_datetime", "PULocationID"], "dolocationid"),
        (["pickup_ts"], "dropoff_ts, pu_zone_id, do_zone_id"),
    ],
)
def test_missing_columns_are_named(columns: list[str], named: str) -> None:
    with pytest.raises(InputError) as caught:
        layout_of(columns)
    assert str(caught.value).endswith(f": no column {named}")


def exported(rows: Sequence[TripRow], **others: object) -> pa.Table:
    """An export of stg.complete_trip with these trips."""
    frame = pl.DataFrame([dict(zip(ROW_FIELDS[2:], row[2:], strict=True)) for row in rows], infer_schema_length=None)
    more = {"source": "load", "revision": 0, "created_at": PICKUP, "updated_at": PICKUP, "distance_km": 3.2}
    derived = {"duration_min": 11.5, "avg_speed_kmh": 16.6}
    literals = [
        pl.lit(value, pl.String if name == "extra_columns" else None).alias(name)
        for name, value in {**more, **derived, **others}.items()
    ]
    return frame.drop("extra_columns").with_columns(*literals).to_arrow()


@pytest.mark.parametrize("extra", ['{"surge":1.5,"a":{"b":[1,null]}}', None], ids=["extra", "none"])
def test_an_export_of_the_table_gives_the_same_keys(tmp_path: Path, plain: Row, extra: str | None) -> None:
    row = tuple(plain.get(name) for name in ROW_FIELDS)
    given = exported([row], extra_columns=extra)
    (again,) = read(tmp_path, given)
    assert isinstance(again, dict)
    assert again.pop("extra_columns", None) == ({"surge": 1.5, "a": {"b": [1, None]}} if extra else None)
    assert again == plain
    (computed,) = read(tmp_path, given.drop_columns(["trip_key"]))
    assert isinstance(computed, dict)
    assert (computed["trip_key"] == plain["trip_key"]) == (extra is None)
    (nulled,) = read(tmp_path, given.set_column(0, "trip_key", pa.nulls(1, pa.string())))
    assert nulled == computed


def test_an_unknown_column_of_an_export_joins_the_extra_columns(tmp_path: Path, plain: Row) -> None:
    row = tuple(plain.get(name) for name in ROW_FIELDS)
    (again,) = read(tmp_path, exported([row], extra_columns='{"a":1}', surge=2.0))
    assert isinstance(again, dict)
    assert again["extra_columns"] == {"a": 1, "surge": 2}


@pytest.mark.parametrize("extra", ["{", "[1]", "5", '"text"', "[" * 5000, "\ufffd"])
def test_extra_columns_that_are_not_an_object_reject_the_row(tmp_path: Path, plain: Row, extra: str) -> None:
    row = tuple(plain.get(name) for name in ROW_FIELDS)
    (rejected,) = read(tmp_path, exported([row], extra_columns=extra))
    assert isinstance(rejected, RejectedRow)
    assert rejected.reason == "extra_columns: not a JSON object"


def test_an_unknown_service_rejects_the_row(tmp_path: Path, plain: Row) -> None:
    row = tuple(plain.get(name) if name != "service" else "blue" for name in ROW_FIELDS)
    (rejected,) = read(tmp_path, exported([row]))
    assert isinstance(rejected, RejectedRow)
    assert rejected.reason == "service: blue is neither yellow nor green"
