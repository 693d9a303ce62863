"""The same job in Bytewax's own parts: its Kafka source and sink, `stateful_flat_map`, `fold_window`.

Its sink loses data silently, its windows drop late events and emit nothing before they close, and its recovery store
keeps a row for every trip.
"""

from __future__ import annotations

import operator
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as w
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow

from chillflow.model.codec import decode_value, encode_value
from chillflow.model.events import EVENT_TYPES

SERVERS, TOPIC, TRIPS, WINDOWS = (os.environ[f"BENCH_{name}"] for name in ("SERVERS", "TOPIC", "TRIPS", "WINDOWS"))
ALIGN = datetime(2024, 1, 1, tzinfo=UTC)


def assemble(events: list[Any] | None, event: Any) -> tuple[list[Any] | None, list[Any]]:
    """Collect the events of a trip, and emit it once its start, payment and end have arrived."""
    events = events or [None] * 5
    before = events[0] and events[3] and events[4]
    events[EVENT_TYPES.index(event["event_type"])] = event
    complete = events[0] and events[3] and events[4] and not before
    return None if all(events) else events, [(events[0], events[3], events[4])] if complete else []


def to_message(item: tuple[str, Any]) -> KafkaSinkMessage[Any, Any]:
    """A trip as a message."""
    key, (start, payment, end) = item
    trip = {"trip_key": key, **start, **payment, **end}
    return KafkaSinkMessage(key.encode(), encode_value(trip))


flow = Dataflow("stock")
source = KafkaSource([SERVERS], [TOPIC], tail=False, batch_size=4096, add_config={"fetch.queue.backoff.ms": "10"})
messages = op.input("read", flow, source)
events = op.map("decode", messages, lambda message: decode_value(message.value))  # type: ignore
trips = op.stateful_flat_map("assemble", op.key_on("by_trip", events, lambda event: event["trip_key"]), assemble)
op.output("write", op.map("encode", trips, to_message), KafkaSink([SERVERS], TRIPS))


def measures(item: tuple[str, Any]) -> tuple[str, tuple[datetime, list[int]]]:
    """The zone of a trip, and its drop-off time with the measures that it adds to the windows."""
    _, (start, payment, end) = item
    pickup, dropoff = (
        datetime.fromisoformat(each.replace("Z", "+00:00")) for each in (start["pickup_ts"], end["dropoff_ts"])
    )
    kind, seconds = payment["payment_type"], (dropoff - pickup).total_seconds()
    cents = [round((payment[name] or 0.0) * 100) for name in ("total_amount", "fare_amount", "tip_amount")]
    metres = round((end["trip_distance"] or 0.0) * 1609.344)
    added = [1, int(seconds > 0), int(kind == 1), int(kind == 2), *cents, metres, round(seconds)]
    return str(start["pu_zone_id"]), (dropoff, added)


def add(one: list[int], other: list[int]) -> list[int]:
    """The sums of two lists of measures."""
    return [*map(operator.add, one, other)]


zones = op.map("measures", trips, measures)
for minutes in (15, 60):
    windows = w.fold_window(
        f"window_{minutes}",
        zones,
        w.EventClock(lambda item: item[0], timedelta(days=7), to_system_utc=lambda _: None),
        w.TumblingWindower(timedelta(minutes=minutes), ALIGN),
        lambda: [0] * 9,
        lambda total, item: add(total, item[1]),
        add,
        ordered=False,  # ordered, it keeps a week of trips and writes them all in each epoch: a tenth of the speed
    )
    rows = op.map(
        f"encode_{minutes}",
        windows.down,
        lambda item: KafkaSinkMessage(item[0].encode(), encode_value(item[1])),
    )
    op.output(f"write_{minutes}", rows, KafkaSink([SERVERS], WINDOWS))
