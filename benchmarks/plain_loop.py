"""The job written by hand: a loop over a consumer, dicts of trips and windows, a producer. It guarantees nothing.

    python -m benchmarks.plain_loop SERVERS TOPIC TRIPS_TOPIC WINDOWS_TOPIC [--repeats]

No recovery, no exactly-once, no late or incomplete trips, no corrections, no bounded memory. It waits for all five
events of a trip, in any order; with `--repeats` it also remembers the trips it has made, and ignores their events. As
long as no event is lost it makes the same trips and windows, with our decoder, encoder and client settings, so that
only the rest is compared. It is the yardstick, so it is written to be fast.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from chillflow.assembly.results import window_message, zone_window
from chillflow.assembly.windows import Window
from chillflow.model.codec import KINDS, CompleteTripStruct, decode_keyed, encode_value
from chillflow.model.trips import derived, milliseconds
from chillflow.settings import load

COMMON = {"fetch.queue.backoff.ms": 10, "queued.max.messages.kbytes": 32_768, "isolation.level": "read_committed"}
LENGTHS = [length // timedelta(milliseconds=1) for length in load().window_lengths]


def main(servers: str, topic: str, trips_topic: str, windows_topic: str, *options: str) -> None:  # noqa: C901, PLR0915 - the yardstick: function calls cost time
    """Read the topic to its end and write its trips and windows."""
    repeats = "--repeats" in options
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "plain-loop",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            **COMMON,
        }
    )
    producer = Producer(
        {"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 20, "compression.type": "lz4"}
    )
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])

    def produce(topic: str, value: bytes, key: bytes, timestamp: int) -> None:
        while True:
            try:
                producer.produce(topic, value, key, -1, None, None, timestamp)
                return
            except BufferError:
                producer.poll(0.1)

    trips: dict[bytes, list[Any]] = {}
    made: set[bytes] = set()
    windows: dict[tuple[int, int, int], list[int]] = {}
    changed: set[tuple[int, int, int]] = set()

    def send_windows() -> None:
        for zone, length, start in changed:
            *measures, changes = windows[zone, length, start]
            message = window_message(windows_topic, zone_window(Window(zone, length, start, measures, changes, False)))
            produce(windows_topic, message.value or b"", message.key or b"", message.timestamp or 0)
        changed.clear()

    ended, sent_at = 0, time.monotonic()
    while ended < len(partitions):
        for message in consumer.consume(4096, 0.1):
            if message.error():
                ended += 1
                continue
            key: Any = message.key()
            event: Any = decode_keyed(key, message.value())
            events = trips.get(key)
            if events is None:
                if key in made:
                    continue
                events = trips[key] = [None] * 5
            events[KINDS[type(event)]] = event  # a repeat takes the place of its equal
            started, exited, entered, payment, end = events
            if end is None or payment is None or entered is None or started is None or exited is None:
                continue
            zone, dropoff, distance = started.pu_zone_id, end.dropoff_ts, end.trip_distance
            kilometres, minutes, speed = derived(distance, started.pickup_ts, dropoff)
            fare, tip, total = payment.fare_amount, payment.tip_amount, payment.total_amount
            trip = CompleteTripStruct(
                started.trip_key,
                started.service,
                started.vendor_id,
                started.pickup_ts,
                dropoff,
                zone,
                end.do_zone_id,
                started.passenger_count,
                started.rate_code,
                started.store_and_fwd_flag,
                started.trip_type,
                distance,
                payment.payment_type,
                fare,
                payment.extra,
                payment.mta_tax,
                tip,
                payment.tolls_amount,
                payment.improvement_surcharge,
                payment.congestion_surcharge,
                payment.airport_fee,
                payment.cbd_congestion_fee,
                payment.ehail_fee,
                total,
                end.extra_columns,
                kilometres,
                minutes,
                speed,
                1,
            )
            at = milliseconds(dropoff)
            produce(trips_topic, encode_value(trip), key, at)
            timed = minutes is not None
            card, cash = payment.payment_type == 1, payment.payment_type == 2
            cents, fare_cents, tip_cents = round((total or 0) * 100), round((fare or 0) * 100), round((tip or 0) * 100)
            metres, seconds = round((kilometres or 0) * 1000) if timed else 0, round((minutes or 0) * 60)
            for length in LENGTHS:
                which = (zone, length, at - at % length)
                window = windows.get(which)
                if window is None:
                    window = windows[which] = [0] * 10
                window[0] += 1
                window[1] += timed
                window[2] += card
                window[3] += cash
                window[4] += cents
                window[5] += fare_cents
                window[6] += tip_cents
                window[7] += metres
                window[8] += seconds
                window[9] += 1
                changed.add(which)
            del trips[key]
            if repeats:
                made.add(key)
        producer.poll(0)
        if time.monotonic() > sent_at + 1:
            send_windows()
            sent_at = time.monotonic()
    send_windows()
    producer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
