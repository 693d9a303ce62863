"""Frames of trips -> trip_keys, rows, events in event-time order, whole columns at a time.

The same as row by row (`trips.py`, `splitting.py`, `replay.py`), byte by byte. Measured, in µs an event: trip_keys 0.6,
events without their ids 0.7 (by msgspec 2.1), their order 0.1 where 1,000 trips are under way, 0.9 where
100,000 are (with a heap 0.5).
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import polars as pl

from chillflow.model.codec import decode_value, encode_value
from chillflow.model.events import EVENT_TYPES, SCHEMA_VERSION
from chillflow.model.trips import numbered_key, text_digest
from chillflow.production.replay import RejectedRow, Replayed, ReplayStats, Screen, woven
from chillflow.production.splitting import ALONE, CARRIED, PICKUP, ROW_FIELDS, Events, Leg, TripRow

__all__ = ["keyed", "replay_columns", "replay_frames", "rows"]

T = TypeVar("T")
_MANY_ROWS = 65_536
"""So many at a time are turned into text: with fewer, values that repeat are written more often."""
_ROWS = 8_192
"""The events of so many are put in order at a time: 15 MB."""
_AHEAD = 8
"""So often ahead of what is sent: a stretch of the file is read and keyed in one go, which takes longer than to send
the events of `_ROWS`."""
_EVENTS = 2_048
"""So many at a time become Python's objects."""
_TIMES = ("pickup_ts", "dropoff_ts")
_IN_MICROSECONDS = {"pickup_ts": "pickup_us", "dropoff_ts": "dropoff_us"}
_EXTRA_POSITION = ROW_FIELDS.index("extra_columns")
_KEY = "the trip_key as JSON"
_ESCAPED = r"[^ !#-\[\]-~]"
"""What JSON may write otherwise than it is: all but the ASCII that it leaves alone."""
_NUMBER = "the number of the row"


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


def replay_columns(
    trips: Iterable[pl.DataFrame | RejectedRow], screen: Screen, *, origin: str, limit: int | None = None
) -> Iterator[Events | RejectedRow]:
    """What `replay` gives of their rows, many events at a time."""
    for item in _ahead(_in_order(_screened(trips, screen, origin, limit))):
        if isinstance(item, list):
            yield from item
            continue
        for part in item.iter_slices(_EVENTS):
            yield Events(*(column.to_list() for column in part.select(Events._fields)))


def replay_frames(
    trips: Iterable[pl.DataFrame | RejectedRow],
    screen: Screen,
    *,
    origin: str,
    limit: int | None = None,
    disorder: Callable[[Iterable[Leg]], Iterable[Leg]] = iter,
    stats: ReplayStats | None = None,
) -> Iterator[Replayed]:
    """What `replay` gives of their rows, each event as a leg of its own."""
    stats = stats or ReplayStats()
    rejected: list[RejectedRow] = []

    def legs() -> Iterator[Leg]:
        for item in replay_columns(trips, screen, origin=origin, limit=limit):
            if isinstance(item, RejectedRow):
                rejected.append(item)
                continue
            for time, kind, key, content in zip(*item, strict=True):
                if kind == 0:
                    stats.trips += 1
                yield Leg(time, time, ALONE[kind], key, (content,))

    yield from woven(disorder(legs()), rejected)


def _screened(
    trips: Iterable[pl.DataFrame | RejectedRow], screen: Screen, origin: str, limit: int | None
) -> Iterator[tuple[list[RejectedRow], pl.DataFrame]]:
    """Some of the first `limit` good trips at a time, and the rows that were rejected before or among them."""
    left = limit
    rejected: list[RejectedRow] = []
    for item in trips if left != 0 else ():
        if isinstance(item, RejectedRow):
            rejected.append(item)
            if len(rejected) == _ROWS:
                yield rejected, pl.DataFrame()
                rejected = []
            continue
        for some in item.iter_slices(_MANY_ROWS):
            good = some.select(_passes(screen)).to_series()
            if left is not None:
                wanted = good.cum_sum().shift(1, fill_value=0) < left
                some, good = some.filter(wanted), good.filter(wanted)
                left -= int(good.sum())
            rejected.extend(filter(None, (screen.rejected(row, origin) for row in rows(some.filter(~good)))))
            yield rejected, some.filter(good)
            if left == 0:
                return
            rejected = []
    yield rejected, pl.DataFrame()


def _passes(screen: Screen) -> pl.Expr:
    longest, latest = screen.limits
    pickup, dropoff = pl.col("pickup_us"), pl.col("dropoff_us")
    return ((dropoff - pickup).abs() <= longest) & (pl.max_horizontal(pickup, dropoff) <= latest)


def _in_order(
    screened: Iterable[tuple[list[RejectedRow], pl.DataFrame]],
) -> Iterator[list[RejectedRow] | pl.DataFrame]:
    """Their events (see `Events`) in the order in which `schedule` gives them, and the rejected rows before them."""
    columns = [_columns_of(kind) for kind in range(len(EVENT_TYPES))]
    waiting: list[pl.DataFrame] = []
    number = 0
    for rejected, trips in screened:
        if rejected:
            yield rejected
        if trips.is_empty():
            continue
        encoded = trips.select(*ROW_FIELDS[:2], pl.col("trip_key").cast(pl.Binary), *_TIMES, *_members(trips))
        for some in encoded.with_row_index(_NUMBER, offset=number).iter_slices(_ROWS):
            events = pl.concat([*waiting, *map(some.select, columns)]).sort("times", _NUMBER, maintain_order=True)
            last = min(some.get_column(name)[-1] for name in ROW_FIELDS[:2])
            due = events.get_column("times").search_sorted(last, side="right")
            yield events[:due]
            waiting = [_alone(events[due:])]
        number += trips.height
    yield from waiting


def _alone(events: pl.DataFrame) -> pl.DataFrame:
    """A copy. A slice, and whatever is sorted of it later, would keep the texts of all events it was cut from."""
    return pl.DataFrame(pl.from_arrow(events.to_arrow(compat_level=pl.CompatLevel.oldest())))


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same, made in a thread while those before are used: Polars works beside Python.

    Each call of Polars takes the GIL back at its end, and waits for it as long as Python lets the other thread go on:
    with 1 ms instead of 5 production is 7 % faster.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.001)
    with ThreadPoolExecutor(1) as thread:
        under_way = deque(thread.submit(next, items, None) for _ in range(_AHEAD))
        try:
            while (item := under_way.popleft().result()) is not None:
                under_way.append(thread.submit(next, items, None))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
            sys.setswitchinterval(interval)


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


def _columns_of(kind: int) -> list[pl.Expr]:
    """What makes `Events` of this kind of trips."""
    return [
        pl.col("pickup_us" if kind in PICKUP else "dropoff_us").alias("times"),
        pl.lit(kind, dtype=pl.Int8).alias("kinds"),
        pl.col("trip_key").alias("keys"),
        pl.concat_str(_pieces(kind)).cast(pl.Binary).alias("contents"),
        pl.col(_NUMBER),
    ]


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
