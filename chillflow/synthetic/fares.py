"""Fares: TLC's meter rules since December 2022, in cents."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import polars as pl

from chillflow.model.zones import CONGESTION_ZONES, MANHATTAN, SURCHARGE_ZONES
from chillflow.synthetic.geography import JFK, LAGUARDIA, NEWARK, OUTSIDE, Service
from chillflow.synthetic.randomness import Draws, loaded_die

CHARGES = (
    "fare_amount",
    "extra",
    "mta_tax",
    "tip_amount",
    "tolls_amount",
    "improvement_surcharge",
    "congestion_surcharge",
    "Airport_fee",
    "cbd_congestion_fee",
)
"""The charges that make up the total, as columns that `with_charges` adds."""

CARD, CASH, NO_CHARGE, DISPUTE = 1, 2, 3, 4

_STANDARD_RATE, _JFK_RATE, _NEWARK_RATE, _NEGOTIATED_RATE = 1, 2, 3, 5
_CONGESTION_SURCHARGE: dict[Service, int] = {"yellow": 250, "green": 275}
_CONGESTION_TOLL_SINCE = date(2025, 1, 5)
_TUNNEL_TOLL = 694
_PAYMENT: dict[Service, pl.Series] = {
    "yellow": pl.Series(loaded_die({CARD: 823, CASH: 153, NO_CHARGE: 6, DISPUTE: 18})),
    "green": pl.Series(loaded_die({CARD: 689, CASH: 301, NO_CHARGE: 8, DISPUTE: 2})),
}
_TIP_PERCENT = pl.Series(loaded_die({0: 12, 10: 8, 15: 15, 18: 10, 20: 35, 25: 15, 30: 5}))


def with_charges(trips: pl.DataFrame, draw: Draws, service: Service) -> pl.DataFrame:
    """The trips with the columns `RatecodeID`, `payment_type` and `CHARGES` (Int64, in cents).

    Needs the columns `PULocationID`, `DOLocationID`, `pickup` (a naive datetime, New York wall time),
    `distance` (hundredths of a mile) and `driven` (seconds that the meter ran).
    """
    return (
        trips.with_columns(
            RatecodeID=_rate_code(),
            payment_type=draw.roll(_PAYMENT[service], "payment"),
            **_surcharges(service),
        )
        .with_columns(
            fare_amount=_fare(),
            mta_tax=_cents(50, ~pl.col("RatecodeID").is_in([_NEWARK_RATE, _NEGOTIATED_RATE])),
            tolls_amount=_cents(_TUNNEL_TOLL, _crosses_to_an_airport() & draw.chance(0.5, "toll")),
        )
        .with_columns(tip_amount=_tip(draw))
    )


def _rate_code() -> pl.Expr:
    return (
        pl.when(_at(JFK) & _at(*MANHATTAN))
        .then(_JFK_RATE)
        .when(_at(OUTSIDE))
        .then(_NEGOTIATED_RATE)
        .when(_to(NEWARK))
        .then(_NEWARK_RATE)
        .otherwise(_STANDARD_RATE)
    )


def _surcharges(service: Service) -> dict[str, pl.Expr]:
    hour = pl.col("pickup").dt.hour()
    rush_hour = hour.is_between(16, 19) & (pl.col("pickup").dt.weekday() <= 5)
    night = ~hour.is_between(6, 19)
    congestion_toll = _at(*CONGESTION_ZONES) & (pl.col("pickup") >= _CONGESTION_TOLL_SINCE)
    return {
        "extra": _cents(250, rush_hour) + _cents(100, night) + _cents(500, _at(LAGUARDIA)),
        "improvement_surcharge": pl.lit(100, dtype=pl.Int64),
        "congestion_surcharge": _cents(_CONGESTION_SURCHARGE[service], _at(*SURCHARGE_ZONES)),
        "Airport_fee": _cents(175, _from(JFK, LAGUARDIA)),
        "cbd_congestion_fee": _cents(75, congestion_toll),
    }


def _fare() -> pl.Expr:
    # The meter counts a unit for each fifth of a mile, or for each minute in slow traffic. For a trip that mixes both,
    # the larger count plus a fifth of the smaller one comes close to TLC's published fares.
    by_distance = pl.col("distance") * 5
    by_time = pl.col("driven") * 100 // 60
    hundredths = pl.max_horizontal(by_distance, by_time) + pl.min_horizontal(by_distance, by_time) // 5
    metered = 300 + 70 * ((hundredths + 50) // 100)
    return (
        pl.when(pl.col("RatecodeID") == _JFK_RATE)
        .then(7000)
        .when(pl.col("RatecodeID") == _NEGOTIATED_RATE)
        .then(2000 + pl.col("distance") // 25 * 100)
        .when(pl.col("RatecodeID") == _NEWARK_RATE)
        .then(metered + 2000)
        .otherwise(metered)
    )


def _tip(draw: Draws) -> pl.Expr:
    paid = pl.sum_horizontal(pl.col("fare_amount", "extra", "congestion_surcharge", "tolls_amount"))
    tip = (paid * draw.roll(_TIP_PERCENT, "tip") + 50) // 100
    # Cash tips are not recorded.
    return pl.when(pl.col("payment_type") == CARD).then(tip).otherwise(0)


def _crosses_to_an_airport() -> pl.Expr:
    return _at(JFK, LAGUARDIA) & _at(*MANHATTAN)


def _cents(amount: int, due: pl.Expr) -> pl.Expr:
    return pl.when(due).then(amount).otherwise(0).cast(pl.Int64)


def _from(*zone_ids: int) -> pl.Expr:
    return _in("PULocationID", zone_ids)


def _to(*zone_ids: int) -> pl.Expr:
    return _in("DOLocationID", zone_ids)


def _at(*zone_ids: int) -> pl.Expr:
    return _from(*zone_ids) | _to(*zone_ids)


def _in(column: str, zone_ids: Collection[int]) -> pl.Expr:
    return pl.col(column).is_in(sorted(zone_ids))
