"""Frames of trips -> trip_keys, rows, events in event-time order, whole columns at a time.

The same as row by row (`trips.py`, `splitting.py`, `replay.py`), byte by byte. Measured, in µs an event: trip_keys 0.6,
events without their ids 0.7 (by msgspec 2.1), their order 0.3 (with a heap 0.5 and a screen for each row).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import Any, TypeVar

import polars as pl

from chillflow.codec import decode_value, encode_value
from chillflow.events import EVENT_TYPES, SCHEMA_VERSION
from chillflow.replay import RejectedRow, Replayed, ReplayStats, Screen, woven
from chillflow.splitting import CARRIED, DROPOFF, PICKUP, ROW_FIELDS, EncodedRow, Leg, TripRow
from chillflow.trips import numbered_key, text_digest

__all__ = ["keyed", "replay_frames", "rows"]

T = TypeVar("T")
_MANY_ROWS = 65_536
"""So many at a time are turned into text: with fewer, values that repeat are written more often."""
_ROWS = 8_192
"""So many at a time become Python's objects: their events are 15 MB."""
_TIMES = ("pickup_ts", "dropoff_ts")
_IN_MICROSECONDS = {"pickup_ts": "pickup_us", "dropoff_ts": "dropoff_us"}
_EXTRA_POSITION = ROW_FIELDS.index("extra_columns")
_KEY = "the trip_key as JSON"
_ESCAPED = r"[^ !#-\[\]-~]"
"""What JSON may write otherwise than it is: all but the ASCII that it leaves alone."""
_at: Callable[[Leg], int] = attrgetter("time")


def keyed(trips: pl.DataFrame) -> pl.DataFrame:
    """Trips of a stretch of time with their trip_keys; all that are identical must be among them."""
    key = trips.get_column("trip_key")
    without = key.is_null() | (key == "")
    parts = trips.filter(without).iter_slices(_MANY_ROWS)
    digests = [text_digest(text) for part in parts for text in _canonical_texts(part)]
    computed = [digest.hex() for digest in digests]
    copies: Counter[bytes] = Counter()
    for position in pl.Series(computed, dtype=pl.String).is_duplicated().arg_true():
        digest = digests[position]
        computed[position] = numbered_key(digest, copies[digest])
        copies[digest] += 1
    return trips.with_columns(key.scatter(without.arg_true(), pl.Series(computed, dtype=pl.String)))


def rows(trips: pl.DataFrame) -> Iterator[TripRow]:
    """Keyed trips as rows."""
    for part in trips.iter_slices(_ROWS):
        for row in part.rows():
            extra = row[_EXTRA_POSITION]
            if extra is not None:
                row = (*row[:_EXTRA_POSITION], decode_value(extra), *row[_EXTRA_POSITION + 1 :])
            yield row


def replay_frames(
    trips: Iterable[pl.DataFrame | RejectedRow],
    screen: Screen,
    *,
    origin: str,
    limit: int | None = None,
    disorder: Callable[[Iterable[Leg]], Iterable[Leg]] = iter,
    stats: ReplayStats | None = None,
) -> Iterator[Replayed]:
    """What `replay` gives of their rows."""
    stats = stats or ReplayStats()
    rejected: list[RejectedRow] = []

    def taken() -> Iterator[list[EncodedRow]]:
        left = limit
        for refused, many, members in _ahead(_encoded(trips)):
            rejected.extend(refused)
            for part, encoded in zip(many.iter_slices(_ROWS), members.iter_slices(_ROWS), strict=True):
                if left == 0:
                    return
                good = part.select(_passes(screen)).to_series()
                if left is not None:
                    wanted = good.cum_sum().shift(1, fill_value=0) < left
                    part, encoded, good = part.filter(wanted), encoded.filter(wanted), good.filter(wanted)
                    left -= int(good.sum())
                rejected.extend(filter(None, (screen.rejected(row, origin) for row in rows(part.filter(~good)))))
                columns = encoded.filter(good).select(*ROW_FIELDS[:3], *_contents())
                yield list(zip(*(column.to_list() for column in columns), strict=True))  # of `rows()`, half the time

    yield from woven(disorder(_legs(taken(), stats)), rejected)


def _passes(screen: Screen) -> pl.Expr:
    longest, latest = screen.limits
    pickup, dropoff = pl.col("pickup_us"), pl.col("dropoff_us")
    return ((dropoff - pickup).abs() <= longest) & (pl.max_horizontal(pickup, dropoff) <= latest)


def _legs(rows: Iterable[list[EncodedRow]], stats: ReplayStats) -> Iterator[Leg]:
    """The legs in the order in which `schedule` gives them: sorting keeps the order of rows among equal times.

    `stats` counts the trips that have begun.
    """
    waiting: list[Leg] = []
    for some in rows:
        for row in some:
            pickup, dropoff = row[0], row[1]
            start, end = Leg(pickup, pickup, PICKUP, row), Leg(dropoff, dropoff, DROPOFF, row)
            waiting += (end, start) if dropoff < pickup else (start, end)
        waiting.sort(key=_at)
        due = bisect_right(waiting, min(some[-1][:2]), key=_at) if some else 0
        beginning = iter(some)
        next_row = next(beginning, None)
        for leg in waiting[:due]:
            if leg.row is next_row:
                stats.trips += 1
                next_row = next(beginning, None)
            yield leg
        del waiting[:due]
    yield from waiting


def _encoded(
    trips: Iterable[pl.DataFrame | RejectedRow],
) -> Iterator[tuple[list[RejectedRow], pl.DataFrame, pl.DataFrame]]:
    """Some trips at a time, and of each an EncodedRow with the pieces of its contents; what was rejected before."""
    refused: list[RejectedRow] = []
    for item in trips:
        if isinstance(item, RejectedRow):
            refused.append(item)
            continue
        for many in item.iter_slices(_MANY_ROWS):
            yield refused, many, many.select(*ROW_FIELDS[:3], *_TIMES, *_members(many))
            refused = []
    if refused:
        yield refused, pl.DataFrame(), pl.DataFrame()


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same, each made in a thread while the one before it is used: Polars works beside Python."""
    with ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(next, items, None)
        while (item := under_way.result()) is not None:
            under_way = thread.submit(next, items, None)
            yield item


def _members(trips: pl.DataFrame) -> Iterator[pl.Series]:
    """The members of a JSON object that hold the fields, but for the times; each but the first after a comma."""
    key = trips.get_column("trip_key")
    if key.str.contains(_ESCAPED).any():
        quoted = pl.Series([_json(each) for each in key], dtype=pl.String)
    else:
        quoted = '"' + key + '"'
    yield ('"trip_key":' + quoted).alias(_KEY)
    for name in ROW_FIELDS[3:]:
        column, form = trips.get_column(name), f',"{name}":%s'
        if name == "extra_columns":  # which is JSON already
            yield (form % "" + column.fill_null("null")).alias(name)
        elif name not in _TIMES:
            yield _texts(column, form, _json, "null")


def _contents() -> Iterator[pl.Expr]:
    """The contents of the events (see `Envelope`)."""
    for kind, name in enumerate(EVENT_TYPES):
        yield pl.concat_str(_pieces(kind)).cast(pl.Binary).alias(name)


def _pieces(kind: int) -> Iterator[pl.Expr]:
    yield pl.col(_KEY)
    yield from _time("event_time", "pickup_ts" if kind in PICKUP else "dropoff_ts")
    yield pl.lit(f',"schema_version":{SCHEMA_VERSION},"event_version":0')
    for name in CARRIED[kind]:
        yield from _time(name, name) if name in _TIMES else (pl.col(name),)
    yield pl.lit("}")


def _time(name: str, column: str) -> tuple[pl.Expr, ...]:
    return pl.lit(f',"{name}":"'), pl.col(column), pl.lit('"')


def _json(value: Any) -> str:
    return encode_value(value).decode()


def _canonical_texts(trips: pl.DataFrame) -> pl.Series:
    """The canonical form of each row (see `row_digest`)."""
    pieces = []
    for field in ROW_FIELDS[3:]:
        column, form = trips.get_column(_IN_MICROSECONDS.get(field, field)), f"('{field}', %s), "
        if field in _IN_MICROSECONDS:
            text = form.replace("%s", "{}")
            pieces.append(pl.format(text, pl.lit(column)))
        elif field == "extra_columns":
            pieces.append(pl.lit(_texts(column, form, lambda value: ascii(decode_value(value)))))
        else:
            pieces.append(pl.lit(_texts(column, form, ascii)))
    return pl.select(pl.concat_str(pieces, ignore_nulls=True).str.strip_suffix(", ")).to_series()


def _texts(column: pl.Series, form: str, text: Callable[[Any], str], null: str | None = None) -> pl.Series:
    """What `text` makes of each value, in its place in `form`.

    Python writes each distinct value once, so that the text is Python's whatever Polars would write.
    """
    distinct = column.drop_nulls().unique()
    written = [form % text(value) for value in distinct]
    default = None if null is None else form % null
    return column.replace_strict(distinct, written, default=default, return_dtype=pl.String)
