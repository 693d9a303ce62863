"""Frames of source rows (TLC's columns, or our own) -> frames of trips, whole columns at a time. Pure, on frames.

The Parquet type of a column makes no difference; a value that does not fit its field rejects its row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
from polars import selectors

from chillflow.errors import InputError
from chillflow.model.codec import decode_value, encode_value
from chillflow.model.trips import DERIVED_FIELDS, TRIP_FIELDS, CompleteTrip, canonical_extra
from chillflow.production.rejected import RejectedRow
from chillflow.production.trip_frames import ROW_FIELDS, TIMES

__all__ = ["NEEDED", "REASON", "ROW", "Layout", "Trips", "layout_of", "rejected_rows", "to_trips"]

ROW, REASON = "#row", "#reason"
"""Columns added to those of a source; `#` because a source may have a `row` of its own."""
_TLC_NAMES = {
    "vendorid": "vendor_id",
    "pulocationid": "pu_zone_id",
    "dolocationid": "do_zone_id",
    "ratecodeid": "rate_code",
    **{name: name for name in TRIP_FIELDS if name not in ("extra_columns", "service")},
}
NEEDED = (*TIMES, "pu_zone_id", "do_zone_id")
"""The fields without which a row is no trip."""
_OF_THE_TABLE = (*DERIVED_FIELDS, "source", "revision", "created_at", "updated_at")
_FLOATS = tuple(name for name in TRIP_FIELDS if "float" in str(CompleteTrip.model_fields[name].annotation))
_TEXTS = ("service", "store_and_fwd_flag", "extra_columns")
_INTS = tuple(name for name in TRIP_FIELDS if name not in (*_FLOATS, *_TEXTS, *TIMES))
_TEXT_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%m/%d/%Y %I:%M:%S %p")
_HOUR = pl.duration(hours=1)
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Layout:
    """The mapping of a source's columns to the fields of a trip."""

    service: str | None
    fields: dict[str, str]
    """Field -> column."""
    extra: tuple[str, ...]
    """Unknown columns, which go into `extra_columns` by name."""


@dataclass(frozen=True)
class Trips:
    """Source rows read as trips, and the rejected ones."""

    trips: pl.DataFrame
    """ROW (number in the source, from 0), `pickup_us`, `dropoff_us`, and the fields of a trip by name."""
    rejected: pl.DataFrame
    """ROW, REASON, and the source's columns."""
    ambiguous_times: int
    """Times in the hour that comes twice when daylight saving ends; read as the first."""
    missing_times: int
    """Times in the hour that daylight saving skips; read with the offset before it."""


def layout_of(columns: Sequence[str]) -> Layout:
    """The layout of a source with these columns. Raises InputError if they are neither TLC's nor our own."""
    by_lower: dict[str, str] = {}
    for column in columns:
        by_lower.setdefault(column.lower(), column)
    if {"hvfhs_license_num", "dispatching_base_num"} & by_lower.keys():
        raise InputError("fhv and fhvhv trip records are not supported, only yellow and green ones")
    if "pickup_ts" in by_lower:
        names = {name: name for name in ("trip_key", *TRIP_FIELDS)}
        service = None
        ignored: tuple[str, ...] = _OF_THE_TABLE
    else:
        prefix, service = ("lpep", "green") if "lpep_pickup_datetime" in by_lower else ("tpep", "yellow")
        names = {
            f"{prefix}_pickup_datetime": "pickup_ts",
            f"{prefix}_dropoff_datetime": "dropoff_ts",
            **{tlc: field for tlc, field in _TLC_NAMES.items() if field not in TIMES},
        }
        ignored = ()
    fields = {field: by_lower[name] for name, field in names.items() if name in by_lower}
    absent = [
        next(name for name, field in names.items() if field == needed) for needed in NEEDED if needed not in fields
    ]
    if absent:
        raise InputError(f"not yellow or green taxi trip records: no column {', '.join(absent)}")
    known = {*fields.values(), *(by_lower[name] for name in ignored if name in by_lower)}
    return Layout(service, fields, tuple(column for column in columns if column not in known))


def to_trips(source: pl.DataFrame, layout: Layout, time_zone: str) -> Trips:
    """The trips of source rows; `source` has the columns of `layout`, and ROW."""
    values: list[pl.Expr] = []
    reasons: list[pl.Expr] = []
    for field in ("trip_key", *TRIP_FIELDS):
        column, read = layout.fields.get(field), f"#{field}"
        if field == "extra_columns":
            texts, misfits = _extra(source, layout) or (None, None)
            values.append(pl.lit(texts, pl.String).alias(read))
            reasons.append(pl.lit(misfits, pl.String))
        elif column is None:
            values.append(pl.lit(layout.service if field == "service" else None, _dtype(field)).alias(read))
        else:
            raw, dtype = pl.col(column), source.schema[column]
            if field in TIMES:
                value, odd = _time(raw, dtype, time_zone)
                values.extend(count.alias(f"#{kind} {field}") for kind, count in odd.items())
            elif field in _INTS:
                value = _integer(raw, dtype)
            elif field in _FLOATS:
                value = _float(raw, dtype)
            else:
                value = _text(raw, dtype)
            values.append(value.alias(read))
            reasons.append(_misfit(field, raw, dtype, pl.col(read)))
    # Lazy, so that shared expressions (the UTC offsets of the times) are computed once: it halves the time.
    frame = (
        source.lazy()
        .with_columns(values)
        .with_columns(
            pl.coalesce(*reasons).alias(REASON),
            pl.col("#pickup_ts").dt.timestamp("us").alias("#pickup_us"),
            pl.col("#dropoff_ts").dt.timestamp("us").alias("#dropoff_us"),
        )
        .collect()
    )
    good = frame.filter(pl.col(REASON).is_null())
    bad = frame.filter(pl.col(REASON).is_not_null()).select(ROW, REASON).join(source, on=ROW, maintain_order="left")
    counts = {
        kind: sum(int(good[name].sum()) for name in good.columns if name.startswith(f"#{kind} "))
        for kind in ("ambiguous", "missing")
    }
    return Trips(
        good.select(ROW, *(pl.col(f"#{name}").alias(name) for name in ROW_FIELDS)),
        bad,
        counts["ambiguous"],
        counts["missing"],
    )


def rejected_rows(rejected: pl.DataFrame, origin: str, identity: str = ROW) -> Iterator[RejectedRow]:
    """The rejected rows of `Trips`, identified by the column `identity`: ROW, or trip_key in a table."""
    for values in rejected.iter_rows(named=True):
        row, reason = values[identity], values.pop(REASON)
        del values[ROW]
        yield RejectedRow(origin, row, reason, encode_value(canonical_extra(values)))


def _dtype(field: str) -> pl.DataType:
    if field in _INTS:
        return pl.Int32()
    return pl.Float64() if field in _FLOATS else pl.String()


def _text(raw: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    return raw if dtype == pl.String else raw.cast(pl.String, strict=False)


def _float(raw: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype in (pl.String, pl.Binary, pl.Categorical):
        raw = raw.cast(pl.String, strict=False).str.strip_chars()
    elif dtype == pl.Float32:
        raw = raw.cast(pl.String)  # the shortest text, so that 12.8 stays 12.8: a plain cast gives 12.800000190734863
    # pandas writes a missing number as NaN; adding 0 turns -0.0 into the 0.0 that other types have
    return raw.cast(pl.Float64, strict=False).fill_nan(None) + 0.0


def _integer(raw: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_integer():
        return raw.cast(pl.Int32, strict=False)
    number = _float(raw, dtype)
    return pl.when(number == number.floor()).then(number.cast(pl.Int32, strict=False))


def _time(raw: pl.Expr, dtype: pl.DataType, time_zone: str) -> tuple[pl.Expr, dict[str, pl.Expr]]:
    none: dict[str, pl.Expr] = {}
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return raw.dt.cast_time_unit("us").dt.convert_time_zone("UTC"), none
    if dtype in (pl.String, pl.Binary, pl.Categorical):
        text = raw.cast(pl.String, strict=False).str.strip_chars()
        aware = text.str.contains(r"(Z|[+-]\d\d(:?\d\d)?)$")
        wall = pl.when(~aware).then(text)
        naive = pl.coalesce(wall.str.to_datetime(form, time_unit="us", strict=False) for form in _TEXT_FORMATS)
        with_offset = text.str.replace(" ", "T", literal=True).str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False
        )
        value, odd = _localised(naive, time_zone)
        return pl.when(aware).then(with_offset).otherwise(value), odd
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return _localised(raw.cast(pl.Datetime("us")), time_zone)
    return pl.lit(None, pl.Datetime("us", "UTC")), none


def _localised(naive: pl.Expr, time_zone: str) -> tuple[pl.Expr, dict[str, pl.Expr]]:
    """Wall time in UTC, and two booleans: `ambiguous` and `missing`, see `Trips`."""

    def placed(wall: pl.Expr, ambiguous: str) -> pl.Expr:
        local = wall.dt.replace_time_zone(time_zone, ambiguous=ambiguous, non_existent="null")  # type: ignore[arg-type]
        return local.dt.convert_time_zone("UTC")

    first = placed(naive, "earliest")
    missing = first.is_null() & naive.is_not_null()
    return (
        pl.when(missing).then(placed(naive - _HOUR, "earliest") + _HOUR).otherwise(first),
        {"ambiguous": first != placed(naive, "latest"), "missing": missing},
    )


def _misfit(field: str, raw: pl.Expr, dtype: pl.DataType, value: pl.Expr) -> pl.Expr:
    """The reason why a value does not fit its field, or null."""
    present = raw.is_not_null()
    if dtype.is_float():
        present = present & raw.is_not_nan()
    shown = pl.format("{}", raw.cast(pl.String, strict=False).fill_null("value"))
    if field in TIMES:
        what, bad = (
            "not a time since 1970",
            present & (value.is_null() | ~value.is_between(_EARLIEST, _LATEST)),
        )
        if isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns":
            bad = bad | (present & (raw.dt.nanosecond() % 1000 != 0))
            what += " in whole microseconds"
    elif field in _INTS:
        what, bad = "not a 32-bit integer", present & value.is_null()
    elif field in _FLOATS:
        what, bad = "not a finite number", present & (value.is_null() | value.is_infinite())
    elif field == "service":
        what, bad = "neither yellow nor green", present & ~value.is_in(["yellow", "green"])
    else:
        what, bad = "not text", present & value.is_null()
    reason = pl.when(bad).then(pl.concat_str(pl.lit(f"{field}: "), shown, pl.lit(f" is {what}")))
    if field in NEEDED:
        return reason.when(~present).then(pl.lit(f"{field}: missing"))
    return reason


def _extra(source: pl.DataFrame, layout: Layout) -> tuple[pl.Series, pl.Series] | None:
    """`extra_columns` as JSON text, and the reason for each row where it is no object; None if no row has any.

    Unknown columns are merged into the `extra_columns` that an export of the table has.
    """
    own = layout.fields.get("extra_columns")
    if not layout.extra and (own is None or source.get_column(own).null_count() == source.height):
        return None
    columns = [*layout.extra, *([own] if own else [])]
    singles = selectors.by_dtype(pl.Float32).cast(pl.String).cast(pl.Float64)
    texts: list[str | None] = []
    reasons: list[str | None] = []
    for row in source.select(columns).with_columns(singles).iter_rows(named=True):
        held = row.pop(own) if own else None
        try:
            known = decode_value(held) if isinstance(held, str | bytes) else held
            merged = canonical_extra({**(known or {}), **row})
            texts.append(encode_value(merged).decode() if merged else None)
            reasons.append(None)
        except (TypeError, ValueError, RecursionError):
            texts.append(None)
            reasons.append("extra_columns: not a JSON object")
    return pl.Series(texts, dtype=pl.String), pl.Series(reasons, dtype=pl.String)
