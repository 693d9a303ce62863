"""Parquet files of generated trips in the schema of TLC (Taxi and Limousine Commission), oddities included."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from math import ceil
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chillflow.synthetic.fares import CHARGES, DISPUTE, with_charges
from chillflow.synthetic.geography import Service, distance, dropoff_zone, pickup_die
from chillflow.synthetic.randomness import SLOTS, Draws, loaded_die, look_up
from chillflow.synthetic.tlc_schema import tlc_schema

REFUNDS = 0.003
"""Share of rows that refund another row: same vendor, times and zones, negative amounts."""
COPIES = 0.0005
"""Share of rows that are identical to another row."""
DAY_LONG = 0.002
"""Share of trips whose meter was left on: 23 h 50 min to 24 h from pickup to drop-off."""
INSTANT = 0.001
"""Share of trips whose drop-off time equals their pickup time."""
WITHOUT_DISTANCE = 0.01
"""Share of trips with a distance of 0."""
INCOMPLETE = 0.05
"""Share of trips that a vendor delivered with half of the columns null."""
STRAY_EVERY = 66_667
"""One trip in this many is dated 2009-01-01, by a meter whose clock was reset."""

_FIRST_DAY = date(2009, 1, 1)
_DAY = 86_400
_CENTI = (*CHARGES, "total_amount", "trip_distance")  # whole hundredths until they are written

# Pickups by hour of the day, and the typical speed in hundredths of a mile an hour.
# fmt: off
_WEEKDAY = (14, 8, 5, 3, 3, 6, 16, 32, 44, 46, 46, 49, 54, 56, 60, 62, 60, 66, 71, 64, 57, 55, 48, 32)
_WEEKEND = (48, 38, 29, 20, 12, 7, 8, 12, 20, 31, 42, 50, 56, 58, 58, 58, 58, 60, 62, 57, 52, 51, 50, 44)
_SPEEDS = pl.Series([
    1600, 1700, 1800, 1850, 1900, 2000, 1700, 1350, 1150, 1050, 1030, 1020,
    1000, 980, 960, 940, 920, 920, 960, 1060, 1180, 1280, 1360, 1480,
])
# fmt: on
_HOURS = pl.Series(loaded_die(dict(enumerate(_WEEKDAY))) + loaded_die(dict(enumerate(_WEEKEND))))

_VENDORS: dict[Service, pl.Series] = {
    "yellow": pl.Series(loaded_die({1: 24, 2: 76})),
    "green": pl.Series(loaded_die({1: 13, 2: 87})),
}
_PASSENGERS = pl.Series(loaded_die({0: 1.5, 1: 77, 2: 14, 3: 3, 4: 2.5, 5: 1, 6: 1}))
_FLAGS = pl.Series(loaded_die({"N": 997, "Y": 3}))
_TRIP_TYPES = pl.Series(loaded_die({1: 97, 2: 3}))


def generate(
    path: Path,
    trips: int,
    *,
    seed: int = 1,
    start: date = date(2024, 1, 1),
    days: int | None = None,
    service: Service = "yellow",
    chunk: int = 100_000,
) -> None:
    """Write a parquet file of generated trips.

    The same arguments give the same rows on any machine. Times are naive New York wall time and ignore daylight
    saving, so a few lie in the hour that it skips. Memory depends on `chunk`, not on `trips`.
    The file is written as `NAME.part` in the same directory and renamed when complete.

    Args:
        path: The file to write; its directory must exist.
        trips: Number of rows, including refunds and copies.
        seed: Another seed gives other trips.
        start: The first day of pickups, 2009-01-01 or later.
        days: Number of days over which the trips are spread evenly; by default one for each 100,000 trips.
            All drop-offs are before the end of the last day.
        service: Determines schema, zones and fares.
        chunk: Rows of a row group. Each group is a shuffled slice of time; the set of trips does not depend on it.

    Raises:
        ValueError: `trips` is negative, `days` or `chunk` less than 1, or `start` before 2009.
        OSError: The file cannot be written.
    """
    days = max(1, ceil(trips / 100_000)) if days is None else days
    if trips < 0 or days < 1 or chunk < 1 or start < _FIRST_DAY:
        raise ValueError(
            f"cannot spread {trips} trips over {days} days from {start} in chunks of {chunk}: "
            f"at least 0 trips, 1 day, a chunk of 1, and no day before {_FIRST_DAY}"
        )
    plan = _Plan(trips, seed, datetime.combine(start, time()), days, service)
    unfinished = path.with_name(path.name + ".part")
    with pq.ParquetWriter(unfinished, tlc_schema(service)) as file:
        for first in range(0, trips, chunk):
            rows = plan.rows(first, min(first + chunk, trips))
            file.write_table(_to_arrow(rows, tlc_schema(service)), row_group_size=chunk)
    unfinished.replace(path)


@dataclass(frozen=True)
class _Plan:
    """A generator of any slice of the file's rows, each from its row number."""

    trips: int
    seed: int
    start: datetime
    days: int
    service: Service

    def rows(self, first: int, last: int) -> pl.DataFrame:
        """Rows `first` to `last` - 1 in random order, with all columns of either service."""
        numbers = pl.select(row=pl.int_range(first, last, dtype=pl.UInt64))
        rows = self._with_repeats(numbers.sort(Draws(self.seed, pl.col("row")).bits("order")))
        # From here on every value is drawn by `trip`, so that a repeat equals its original.
        draw = Draws(self.seed, pl.col("trip"))
        rows = self._with_times(self._with_journey(rows, draw), draw)
        return self._with_oddities(with_charges(rows, draw, self.service), draw)

    def _with_repeats(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Adds `trip`: the number of the row itself, or of the row before it for a repeat."""
        row = pl.col("row")

        def is_candidate(number: pl.Expr) -> pl.Expr:
            return Draws(self.seed, number).chance(REFUNDS + COPIES, "repeat")

        # A repeat must not be repeated: its own original would not be in the file.
        is_repeat = (row > 0) & is_candidate(row) & ~is_candidate(row - 1)
        is_refund = Draws(self.seed, row).chance(REFUNDS / (REFUNDS + COPIES), "refund")
        return rows.select(trip=row - is_repeat.cast(pl.UInt64), refund=is_repeat & is_refund)

    def _with_journey(self, rows: pl.DataFrame, draw: Draws) -> pl.DataFrame:
        """Adds zones, `begun` (s since the start), `distance` (hundredths of a mile) and `driven` (s)."""
        # Rows follow the demand curve of each day instead of being drawn from it: a slice of rows is a slice of time.
        place = (pl.col("trip") * (self.days * SLOTS) // self.trips).cast(pl.Int64)
        day, slot = place // SLOTS, place % SLOTS
        is_weekend = (day + self.start.weekday()) % 7 >= 5
        straight = distance(pl.col("PULocationID"), pl.col("DOLocationID"))
        detour = 115 + draw.below(50, "detour")
        long_trips_are_fast = pl.min_horizontal(pl.col("distance"), 1500) * 4 // 5
        traffic = 70 + draw.below(61, "traffic")
        speed = (look_up(_SPEEDS, pl.col("hour")) + long_trips_are_fast) * traffic // 100
        return (
            rows.with_columns(
                day=day,
                hour=look_up(_HOURS, is_weekend.cast(pl.Int64) * SLOTS + slot),
                PULocationID=draw.roll(pickup_die(self.service), "pickup zone"),
            )
            .with_columns(
                begun=pl.col("day") * _DAY + pl.col("hour") * 3600 + draw.below(3600, "second"),
                DOLocationID=dropoff_zone(self.service, pl.col("PULocationID"), draw.below(SLOTS, "drop-off zone")),
            )
            .with_columns(distance=straight * detour // 100 + 20 + draw.below(80, "way to the door"))
            .with_columns(driven=30 + draw.below(120, "standing") + pl.col("distance") * 3600 // speed)
        )

    def _with_times(self, rows: pl.DataFrame, draw: Draws) -> pl.DataFrame:
        """Adds `pickup` and `dropoff`, both naive."""
        elapsed = (
            pl.when(draw.chance(DAY_LONG, "day long"))
            .then(_DAY - 1 - draw.below(600, "minutes short of a day"))
            .when(draw.chance(INSTANT, "instant"))
            .then(0)
            .otherwise(pl.min_horizontal(pl.col("driven"), _DAY // 4))
        )
        # Compressed so that the last drop-off is before the end.
        period = self.days * _DAY
        after_start = pl.col("begun") * (period - pl.col("elapsed")) // period
        is_stray = pl.col("trip") % STRAY_EVERY == STRAY_EVERY // 2
        reset_clock = datetime.combine(_FIRST_DAY, time())
        return (
            rows.with_columns(elapsed=elapsed)
            .with_columns(after_start=after_start)
            .with_columns(
                pickup=pl.when(is_stray)
                .then(pl.lit(reset_clock) + pl.duration(seconds=pl.col("after_start") % _DAY))
                .otherwise(pl.lit(self.start) + pl.duration(seconds="after_start"))
            )
            .with_columns(dropoff=pl.col("pickup") + pl.duration(seconds="elapsed"))
        )

    def _with_oddities(self, rows: pl.DataFrame, draw: Draws) -> pl.DataFrame:
        """Adds the remaining TLC columns, with nulls and refunds."""
        prefix, unknown_payment = ("tpep", 0) if self.service == "yellow" else ("lpep", None)
        charges = [name for name in CHARGES if name in tlc_schema(self.service).names]
        known = ~draw.chance(INCOMPLETE, "incomplete")
        sign = pl.when("refund").then(-1).otherwise(1)
        return (
            rows.with_columns(
                pl.when(known).then(pl.col("RatecodeID", "congestion_surcharge", "Airport_fee")),
                pl.col("pickup").alias(f"{prefix}_pickup_datetime"),
                pl.col("dropoff").alias(f"{prefix}_dropoff_datetime"),
                VendorID=draw.roll(_VENDORS[self.service], "vendor"),
                passenger_count=pl.when(known).then(draw.roll(_PASSENGERS, "passengers")),
                store_and_fwd_flag=pl.when(known).then(draw.roll(_FLAGS, "flag")),
                trip_type=pl.when(known).then(draw.roll(_TRIP_TYPES, "trip type")),
                trip_distance=pl.when(draw.chance(WITHOUT_DISTANCE, "no distance")).then(0).otherwise("distance"),
                payment_type=pl.when(known)
                .then(pl.when("refund").then(DISPUTE).otherwise("payment_type"))
                .otherwise(unknown_payment),
                ehail_fee=None,
            )
            .with_columns(pl.col(charges) * sign)
            .with_columns(total_amount=pl.sum_horizontal(charges))
        )


def _to_arrow(rows: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    table = rows.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest())
    for position, name in enumerate(schema.names):
        if name in _CENTI:
            # Not in Polars, which multiplies by 0.01 instead and is off in the last digit.
            exact = pc.divide(pc.cast(table[name], pa.float64()), 100.0)
            table = table.set_column(position, name, exact)
    return table.cast(schema)
