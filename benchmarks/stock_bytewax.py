"""The same job in Bytewax as it comes: its Kafka source and sink, stateful_flat_map, fold_window.

Its sink loses data silently, its windows drop what is late, its recovery store keeps a row for every trip.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as w
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow

from chillflow.codec import decode_value, encode_value
from chillflow.events import EVENT_TYPES

SERVERS, TOPIC, TRIPS, WINDOWS = (os.environ[f"BENCH_{name}"] for name in ("SERVERS", "TOPIC", "TRIPS", "WINDOWS"))
ALIGN = datetime(2024, 1, 1, tzinfo=timezone.utc)


def assemble(events: list[Any] | None, event: Any) -> tuple[list[Any] | None, list[Any]]:
    """Collect the events of a trip; the trip, when three of them are there."""
    events = events or [None] * 5
    before = events[0] and events[3] and events[4]
    events[EVENT_TYPES.index(event["event_type"])] = event
    complete = events[0] and events[3] and events[4] and not before
    return None if all(events) else events, [(events[0], events[3], events[4])] if complete else []


def to_message(item: tuple[str, Any]) -> KafkaSinkMessage[Any, Any]:
    """A trip for its topic."""
    key, (start, payment, end) = item
    trip = {"trip_key": key, **start, **payment, **end}
    return KafkaSinkMessage(key.encode(), encode_value(trip))


flow = Dataflow("stock")
source = KafkaSource([SERVERS], [TOPIC], tail=False, batch_size=4096, add_config={"fetch.queue.backoff.ms": "10"})
messages = op.input("read", flow, source)
events = op.map("decode", messages, lambda message: decode_value(message.value))  # type: ignore
trips = op.stateful_flat_map("assemble", op.key_on("by_trip", events, lambda event: event["trip_key"]), assemble)
op.output("write", op.map("encode", trips, to_message), KafkaSink([SERVERS], TRIPS))
zones = op.key_on("by_zone", trips, lambda item: str(item[1][0]["pu_zone_id"]))
windows = w.fold_window(
    "window",
    zones,
    w.EventClock(
        lambda item: datetime.fromisoformat(item[1][2]["dropoff_ts"].replace("Z", "+00:00")),
        timedelta(days=7),
        to_system_utc=lambda _: None,
    ),
    w.TumblingWindower(timedelta(hours=1), ALIGN),
    lambda: 0.0,
    lambda total, item: total + (item[1][1]["total_amount"] or 0.0),
    lambda one, other: one + other,
)
rows = op.map("encode_window", windows.down, lambda item: KafkaSinkMessage(item[0].encode(), encode_value(item[1])))
op.output("write_windows", rows, KafkaSink([SERVERS], WINDOWS))
