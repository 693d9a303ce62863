"""Rejection of trips whose events would harm the stream: too far in the future, or too long. Pure, on frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from chillflow.model.codec import encode_value
from chillflow.model.trips import microseconds
from chillflow.production.rejected import RejectedRow
from chillflow.production.trip_frames import ROW_FIELDS, rows

__all__ = ["Screen", "screened"]

_MANY_ROWS = 65_536
_REJECTED = 8_192
"""Rejected rows handed on at a time."""
_NAMES = ROW_FIELDS[2:]


@dataclass(frozen=True)
class Screen:
    """Limits on the times of a trip."""

    now: datetime
    max_future_skew: timedelta
    """An event further ahead of `now` would push the watermark past all others."""
    longest: timedelta
    """The longest trip. Assembly drops an incomplete trip after this time, so it cannot reassemble a longer one."""

    def refusal(self) -> pl.Expr:
        """The reason why a trip is rejected; null for a good one."""
        longest = self.longest // timedelta(microseconds=1)
        latest = microseconds(self.now + self.max_future_skew)
        pickup, dropoff = pl.col("pickup_us"), pl.col("dropoff_us")
        return (
            pl.when((dropoff - pickup).abs() > longest)
            .then(pl.lit(f"pickup and drop-off are more than {_hours(self.longest)} apart"))
            .when(pl.max_horizontal(pickup, dropoff) > latest)
            .then(pl.lit(f"dated more than {_hours(self.max_future_skew)} in the future"))
        )


def screened(
    trips: Iterable[pl.DataFrame | RejectedRow], screen: Screen, *, origin: str, limit: int | None
) -> Iterator[tuple[list[RejectedRow], pl.DataFrame]]:
    """Frames of good trips, `limit` trips in all, each with the rows rejected before or among them."""
    left = limit
    rejected: list[RejectedRow] = []
    for item in trips if left != 0 else ():
        if isinstance(item, RejectedRow):
            rejected.append(item)
            if len(rejected) == _REJECTED:
                yield rejected, pl.DataFrame()
                rejected = []
            continue
        for part in item.iter_slices(_MANY_ROWS):
            refusals = part.select(screen.refusal()).to_series()
            good = refusals.is_null()
            if left is not None:
                wanted = good.cum_sum().shift(1, fill_value=0) < left
                part, refusals, good = part.filter(wanted), refusals.filter(wanted), good.filter(wanted)
                left -= int(good.sum())
            rejected.extend(_rejected(part.filter(~good), refusals.drop_nulls(), origin))
            yield rejected, part.filter(good)
            if left == 0:
                return
            rejected = []
    yield rejected, pl.DataFrame()


def _rejected(trips: pl.DataFrame, reasons: pl.Series, origin: str) -> Iterator[RejectedRow]:
    for row, reason in zip(rows(trips), reasons, strict=True):
        values = {name: value for name, value in zip(_NAMES, row[2:], strict=True) if value is not None}
        yield RejectedRow(origin, values["trip_key"], reason, encode_value(values))


def _hours(span: timedelta) -> str:
    return f"{span / timedelta(hours=1):g} h"
