"""Trips as rows and frames for tests of production, and the messages that they must become."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from chillflow.model.codec import encode, encode_value, time_text
from chillflow.model.messages import Message
from chillflow.model.trips import TRIP_FIELDS, CompleteTrip, microseconds, milliseconds
from chillflow.production.rejected import RejectedRow
from chillflow.production.splitting import split
from chillflow.production.trip_frames import ROW_FIELDS, TIMES, TripRow, TripSource, rows

_INTS = ("vendor_id", "pu_zone_id", "do_zone_id", "passenger_count", "rate_code", "trip_type", "payment_type")
_TEXTS = ("trip_key", "service", "pickup_ts", "dropoff_ts", "store_and_fwd_flag", "extra_columns")


def to_row(trip: CompleteTrip) -> TripRow:
    """The trip as a row of a frame, -0.0 as 0.0."""
    values = {name: getattr(trip, name) for name in ("trip_key", *TRIP_FIELDS)}
    values |= {name: time_text(values[name]) for name in TIMES}
    read = (value + 0.0 if isinstance(value, float) else value for value in values.values())
    return (microseconds(trip.pickup_ts), microseconds(trip.dropoff_ts), *read)


def frame(listed: Iterable[TripRow]) -> pl.DataFrame:
    """Rows as a source yields them."""
    records = [(*row[:-1], None if row[-1] is None else encode_value(row[-1]).decode()) for row in listed]
    return pl.DataFrame(records, schema={name: _kind(name) for name in ROW_FIELDS}, orient="row")


def in_order(made: Iterable[CompleteTrip]) -> list[TripRow]:
    """Rows in the order of their first time."""
    return sorted(map(to_row, made), key=lambda row: min(row[:2]))


def rows_of(source: TripSource) -> Iterator[TripRow | RejectedRow]:
    """Everything that a source yields, row by row."""
    for item in source.frames():
        if isinstance(item, RejectedRow):
            yield item
        else:
            yield from rows(item)


def trip_of(row: TripRow) -> CompleteTrip:
    """The trip of a row."""
    return CompleteTrip(**dict(zip(ROW_FIELDS[2:], row[2:], strict=True)))


def expected_messages(listed: Sequence[TripRow], topic: str = "events") -> list[Message]:
    """The messages of rows, made trip by trip from models: by event time, then row, then event type."""
    events = [
        (event.event_time, number, kind, event)
        for number, row in enumerate(listed)
        for kind, event in enumerate(split(trip_of(row)))
    ]
    return [
        Message(topic, event.trip_key.encode(), encode(event), milliseconds(time))
        for time, _, _, event in sorted(events, key=lambda each: each[:3])
    ]


def _kind(name: str) -> pl.DataType:
    if name in ("pickup_us", "dropoff_us"):
        return pl.Int64()
    return pl.Int32() if name in _INTS else pl.String() if name in _TEXTS else pl.Float64()
