"""Generated trips: repeatable, in TLC's schema, with the oddities of real files. And the table of zones."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chillflow.model.zones import zones
from chillflow.synthetic.fares import CHARGES
from chillflow.synthetic.geography import Service
from chillflow.synthetic.randomness import SLOTS, Draws, loaded_die
from chillflow.synthetic.trip_generator import generate
from tests.real_trips import GREEN, YELLOW, real_file

TRIPS = 100_000
START = date(2024, 1, 1)
SERVICES: tuple[Service, ...] = ("yellow", "green")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Service, Path]:
    directory = tmp_path_factory.mktemp("synthetic")
    paths = {service: directory / f"{service}.parquet" for service in SERVICES}
    for service, path in paths.items():
        generate(path, TRIPS, service=service, chunk=30_000, days=2, start=START)
    return paths


@pytest.fixture(params=SERVICES)
def trips(request: pytest.FixtureRequest, files: dict[Service, Path]) -> pl.DataFrame:
    """The trips of a service, without the service's prefix in column names."""
    return _read(files[request.param])


@pytest.fixture
def yellow(files: dict[Service, Path]) -> pl.DataFrame:
    return _read(files["yellow"])


def _read(path: Path) -> pl.DataFrame:
    frame = pl.read_parquet(path)
    return frame.rename({name: name[5:] for name in frame.columns if name[1:4] == "pep"})


def _made(path: Path, trips: int = 2_000, *, seed: int = 1, chunk: int = 100_000) -> pl.DataFrame:
    generate(path / "trips.parquet", trips, seed=seed, chunk=chunk)
    return _read(path / "trips.parquet")


def _elapsed() -> pl.Expr:
    return pl.col("dropoff_datetime") - pl.col("pickup_datetime")


# Zones


def test_zones_are_in_the_order_of_their_ids() -> None:
    assert [zone.zone_id for zone in zones()] == list(range(1, 266))
    assert [zone.zone_id for zone in zones() if zone.lon is None or zone.lat is None] == [
        57,
        104,
        105,
        264,
        265,
    ]


def test_zones_equal_the_reference_table() -> None:
    # The digest of TLC's table of zones, with the centres of the zones' shapes.
    rows = [tuple(zone) for zone in zones()]
    assert sha256(repr(rows).encode()).hexdigest().startswith("c03cc0e12e45d3bf")


# Randomness


def _splitmix64(state: int) -> int:
    mask = 2**64 - 1
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
    return state ^ (state >> 31)


def test_bits_are_splitmix64_in_64_bit_arithmetic() -> None:
    bits = pl.select(row=pl.int_range(1_000, dtype=pl.UInt64)).select(Draws(1, pl.col("row")).bits("a"))
    key = int.from_bytes(sha256(b"1/a").digest()[:8], "little")
    expected = [_splitmix64((row * 0x9E3779B97F4A7C15 + key) % 2**64) for row in range(1_000)]
    assert bits.to_series().to_list() == expected


def test_draws_are_spread_evenly_and_within_bounds() -> None:
    draw = Draws(7, pl.int_range(100_000, dtype=pl.UInt64))
    drawn = pl.select(number=draw.below(10, "number"), chance=draw.chance(0.25, "chance"))
    assert set(drawn["number"]) == set(range(10))
    assert drawn["number"].value_counts()["count"].to_list() == pytest.approx([10_000] * 10, rel=0.05)
    assert drawn["chance"].sum() == pytest.approx(25_000, rel=0.03)


def test_a_loaded_die_has_values_in_proportion_to_their_weights() -> None:
    faces = loaded_die({1: 3.0, 2: 1.0, 3: 0.0})
    assert len(faces) == SLOTS
    assert [faces.count(value) for value in (1, 2, 3)] == [SLOTS * 3 // 4, SLOTS // 4, 0]


# The file


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    assert _made(tmp_path).equals(_made(tmp_path))


@pytest.mark.parametrize(("service", "digest"), [("yellow", "0d1f59f8e4154f93"), ("green", "630ddd5a7666ef0b")])
def test_the_trips_are_the_same_on_every_machine(tmp_path: Path, service: Service, digest: str) -> None:
    # The digests depend on the generator only, not on the versions of Python, Polars and pyarrow.
    generate(tmp_path / "trips.parquet", 2_000, service=service)
    rows = pl.read_parquet(tmp_path / "trips.parquet").rows()
    assert sha256(repr(rows).encode()).hexdigest().startswith(digest)


def test_another_seed_gives_other_trips(tmp_path: Path) -> None:
    assert _made(tmp_path, seed=1).join(_made(tmp_path, seed=2), on="pickup_datetime").height < 100


def test_the_trips_do_not_depend_on_the_chunk(tmp_path: Path) -> None:
    small, large = _made(tmp_path, chunk=300), _made(tmp_path, chunk=5_000)
    assert small.sort(small.columns).equals(large.sort(large.columns))


@pytest.mark.parametrize("trips", [0, 1, 999, 1_000, 1_001])
def test_a_file_holds_exactly_as_many_rows_as_asked_for(tmp_path: Path, trips: int) -> None:
    assert _made(tmp_path, trips, chunk=500).height == trips


def test_a_chunk_is_a_row_group(files: dict[Service, Path]) -> None:
    # Memory depends only on the chunk.
    metadata = pq.read_metadata(files["yellow"])
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert sizes == [30_000, 30_000, 30_000, 10_000]


@pytest.mark.parametrize("wrong", [{"trips": -1}, {"chunk": 0}, {"days": 0}, {"start": date(2008, 12, 31)}], ids=str)
def test_impossible_arguments_are_refused(tmp_path: Path, wrong: dict[str, int | date]) -> None:
    with pytest.raises(ValueError, match="cannot spread"):
        generate(tmp_path / "trips.parquet", **({"trips": 10} | wrong))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("service", "real"), [("yellow", YELLOW), ("green", GREEN)])
def test_the_schema_is_that_of_a_real_file(files: dict[Service, Path], service: Service, real: str) -> None:
    def columns(path: Path) -> list[tuple[str, pa.DataType]]:
        # The unit of times and the width of integers differ between TLC's own files.
        alike = {pa.timestamp("ns"): pa.timestamp("us"), pa.int32(): pa.int64()}
        return [(field.name, alike.get(field.type, field.type)) for field in pq.read_schema(path)]

    assert columns(files[service]) == columns(real_file(real))


# The trips


def test_every_total_is_the_sum_of_its_charges_to_the_cent(trips: pl.DataFrame) -> None:
    charges = [name for name in CHARGES if name in trips.columns]
    cents = trips.select((pl.col(*charges, "total_amount") * 100).round().cast(pl.Int64))
    assert cents.select(pl.sum_horizontal(charges)).to_series().equals(cents["total_amount"])


@pytest.mark.parametrize("column", ["fare_amount", "tip_amount", "total_amount", "trip_distance"])
def test_amounts_are_the_floats_nearest_to_their_hundredths(trips: pl.DataFrame, column: str) -> None:
    assert all(round(amount, 2) == amount for amount in trips[column])


def test_times_are_within_the_limits_of_a_reader(trips: pl.DataFrame) -> None:
    end = datetime(2024, 1, 3)  # noqa: DTZ001 — TLC's times have no zone
    assert trips.filter(_elapsed() < timedelta(0)).is_empty()
    assert trips.filter(_elapsed() > timedelta(days=1)).is_empty()
    assert trips.filter(pl.col("pickup_datetime").dt.year() < 2009).is_empty()
    assert trips.filter(pl.col("dropoff_datetime") >= end).is_empty()


def test_pickups_are_spread_over_all_days_and_follow_the_day(trips: pl.DataFrame) -> None:
    pickups = trips.filter(pl.col("pickup_datetime") >= START)["pickup_datetime"]
    days = pickups.dt.date().value_counts()
    assert days["count"].to_list() == pytest.approx([TRIPS / 2] * 2, rel=0.02)
    hours = dict(pickups.dt.hour().value_counts().iter_rows())
    assert hours[18] > 5 * hours[4]


def test_rows_are_shuffled_within_slices_of_time(trips: pl.DataFrame) -> None:
    steps_back = trips["pickup_datetime"].diff() < timedelta(0)
    assert 0.4 < steps_back.sum() / TRIPS < 0.6
    slices = [trips[first : first + 30_000]["pickup_datetime"].median() for first in range(0, TRIPS, 30_000)]
    assert slices == sorted(slices, key=str)


def test_most_yellow_and_many_green_pickups_are_in_manhattan(files: dict[Service, Path]) -> None:
    borough = {zone.zone_id: zone.borough for zone in zones()}
    in_manhattan = {
        service: _read(path)["PULocationID"].replace_strict(borough).eq("Manhattan").mean()
        for service, path in files.items()
    }
    assert in_manhattan["yellow"] == pytest.approx(0.9, abs=0.05)
    assert in_manhattan["green"] == pytest.approx(0.6, abs=0.1)


def test_only_card_payments_have_tips(trips: pl.DataFrame) -> None:
    tipped = trips.filter(pl.col("total_amount") > 0).group_by("payment_type").agg(pl.col("tip_amount").mean())
    mean = dict(tipped.iter_rows())
    assert mean[1] > 2
    assert mean[2] == mean[4] == 0


def test_jfk_to_manhattan_is_a_flat_fare(yellow: pl.DataFrame) -> None:
    flat = yellow.filter(pl.col("RatecodeID") == 2, pl.col("total_amount") > 0)
    assert flat["fare_amount"].unique().to_list() == [70.0]
    assert flat.filter((pl.col("PULocationID") != 132) & (pl.col("DOLocationID") != 132)).is_empty()
    assert flat["trip_distance"].median() == pytest.approx(17, abs=4)


def test_the_congestion_toll_starts_on_5_january_2025(tmp_path: Path) -> None:
    generate(tmp_path / "trips.parquet", 10_000, start=date(2025, 1, 4), days=2)
    tolled = (
        _read(tmp_path / "trips.parquet")
        .group_by(pl.col("pickup_datetime").dt.day())
        .agg(pl.col("cbd_congestion_fee").abs().max())
    )
    assert dict(tolled.iter_rows()) == {4: 0.0, 5: 0.75}


# The oddities


@pytest.mark.parametrize(
    ("oddity", "least", "most"),
    [
        (pl.col("total_amount") < 0, 0.002, 0.004),
        (_elapsed() >= timedelta(hours=23, minutes=50), 0.0012, 0.0028),
        (_elapsed() == timedelta(0), 0.0005, 0.0015),
        (pl.col("trip_distance") == 0, 0.007, 0.013),
        (pl.col("passenger_count").is_null(), 0.045, 0.055),
        (pl.col("pickup_datetime").dt.year() == 2009, 0.00001, 0.00002),
        (pl.any_horizontal(pl.col("PULocationID", "DOLocationID") >= 264), 0.002, 0.02),
    ],
    ids=["refund", "day long", "instant", "no distance", "incomplete", "stray", "no zone"],
)
def test_oddities_are_as_frequent_as_in_real_files(
    trips: pl.DataFrame, oddity: pl.Expr, least: float, most: float
) -> None:
    assert least <= trips.select(oddity.sum()).item() / TRIPS <= most


def test_a_few_rows_are_identical(trips: pl.DataFrame) -> None:
    assert 0.0002 <= (TRIPS - trips.n_unique()) / TRIPS <= 0.001


def test_every_refund_reverses_a_charge_of_the_file(trips: pl.DataFrame) -> None:
    refunds = trips.filter(pl.col("total_amount") < 0).with_columns(-pl.col("total_amount", "fare_amount"))
    charge = ["VendorID", "pickup_datetime", "dropoff_datetime", "PULocationID", "DOLocationID"]
    assert refunds.join(trips, on=[*charge, "fare_amount", "total_amount"], how="anti").is_empty()


def test_incomplete_rows_have_the_same_columns_null(trips: pl.DataFrame) -> None:
    optional = [
        name
        for name in (
            "passenger_count",
            "RatecodeID",
            "store_and_fwd_flag",
            "congestion_surcharge",
            "Airport_fee",
        )
        if name in trips.columns
    ]
    incomplete = trips.filter(pl.any_horizontal(pl.col(optional).is_null()))
    assert incomplete.select(pl.all_horizontal(pl.col(optional).is_null()).all()).item()
    assert incomplete["payment_type"].unique().to_list() in ([0], [None])
