"""Samples of TLC's files: rows of every oddity, and random rows. Run as `python -m tests.data.make_samples`."""

from __future__ import annotations

import sys
from random import Random

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tests.real_trips import GREEN, SAMPLES, YELLOW, whole_file

ROWS = 2_000
ODD = 40
"""Rows per oddity, spread over the file; all if there are fewer."""
EXTREME = 3
"""Rows with the largest values of each of `EXTREMES`, and as many with the smallest."""
EXTREMES = ["trip_distance", "fare_amount", "tip_amount", "total_amount", "elapsed"]
SAME = ["VendorID", "pickup", "dropoff", "PULocationID", "DOLocationID"]
"""Columns that a charge and its reversal have in common."""
ZERO = pl.duration(seconds=0)
ODDITIES: dict[str, pl.Expr] = {
    "no passenger count": pl.col("passenger_count").is_null(),
    "no rate code": pl.col("RatecodeID").is_null(),
    "no trip type alone": pl.col("trip_type").is_null() & pl.col("RatecodeID").is_not_null(),
    "no passengers": pl.col("passenger_count") == 0,
    "negative amount": pl.min_horizontal("fare_amount", "tip_amount", "total_amount") < 0,
    "negative extra": pl.col("extra") < 0,
    "nothing to pay": pl.col("total_amount") == 0,
    "more than 200 dollars": pl.col("total_amount") > 200,
    "charged and reversed": pl.struct(SAME).is_duplicated(),
    "identical": pl.struct(pl.all()).is_duplicated(),
    "backwards": pl.col("elapsed") < ZERO,
    "instant": pl.col("elapsed") == ZERO,
    "more than six hours": pl.col("elapsed") > pl.duration(hours=6),
    "nearly a day": pl.col("elapsed") > pl.duration(hours=23, minutes=50),
    "picked up outside the month": pl.col("pickup").dt.month() != pl.col("pickup").dt.month().mode().first(),
    "dropped off outside the month": pl.col("dropoff").dt.month() != pl.col("dropoff").dt.month().mode().first(),
    "no distance": pl.col("trip_distance") == 0,
    "more than 100 miles": pl.col("trip_distance") > 100,
    "unknown zone": pl.max_horizontal("PULocationID", "DOLocationID") >= 264,
    "rate code 99": pl.col("RatecodeID") == 99,
    "stored and forwarded": pl.col("store_and_fwd_flag") == "Y",
    "neither card nor cash": pl.col("payment_type") > 2,
}


def trips_of(table: pa.Table) -> pl.DataFrame:
    """The rows with the column names that ODDITIES uses."""
    trips = pl.DataFrame(pl.from_arrow(table))
    trips = trips.rename({name: name[5:-9] for name in trips.columns if name[1:5] == "pep_"})
    if "trip_type" not in trips.columns:
        trips = trips.with_columns(trip_type=pl.lit(1.0))
    return trips.with_columns(elapsed=pl.col("dropoff") - pl.col("pickup"))


def sample_of(table: pa.Table) -> pa.Table:
    """The chosen rows, in the order of the file; always the same ones."""
    trips = trips_of(table)
    numbered = trips.with_columns(number=pl.int_range(pl.len()))
    chosen: set[int] = set()
    for oddity in ODDITIES.values():
        odd = numbered.filter(trips.select(odd=oddity)["odd"])["number"].to_list()
        chosen.update(odd[place * len(odd) // ODD] for place in range(ODD) if odd)
    for column in EXTREMES:
        in_order = numbered.sort(column, "number")["number"].to_list()
        chosen.update(in_order[:EXTREME] + in_order[-EXTREME:])
    chosen.update(numbered.join(numbered[sorted(chosen)], on=SAME, how="semi")["number"])
    others = sorted(set(range(trips.height)) - chosen)
    chosen.update(Random(1).sample(others, ROWS - len(chosen)))
    # pandas' metadata describe the whole file
    return table.take(pa.array(sorted(chosen))).replace_schema_metadata(None)


def main() -> None:
    """Write both samples into tests/data."""
    for name in (GREEN, YELLOW):
        whole = whole_file(name)
        if whole is None:
            sys.exit(f"no whole {name}: name its folder in CHILLFLOW_TEST_DATA")
        pq.write_table(sample_of(pq.read_table(whole)), SAMPLES / name, compression="zstd", compression_level=19)
        print(f"{SAMPLES / name}: {(SAMPLES / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
