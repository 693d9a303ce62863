"""What one would write by hand: a loop over a consumer, a dict of trips, a producer. It guarantees nothing.

No recovery, no windows, no late or incomplete trips, no order of revisions. It has our decoder and our client's
settings, so that what is compared is the rest.
"""

from __future__ import annotations

import sys
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from chillflow.codec import KINDS, decode_keyed, encode_value

STARTED, PAYMENT, ENDED = 0, 3, 4


def main(servers: str, topic: str, out: str) -> None:
    """Read the topic to its end and write the trips."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "loop",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 10,
            "isolation.level": "read_committed",
        }
    )
    producer = Producer(
        {"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 20, "compression.type": "lz4"}
    )
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    trips: dict[bytes, list[Any]] = {}
    ended = 0
    while ended < len(partitions):
        for message in consumer.consume(4096, 0.1):
            if message.error():
                ended += 1
                continue
            key: Any = message.key()
            event = decode_keyed(key, message.value())
            events = trips.setdefault(key, [None] * 5)
            events[KINDS[type(event)]] = event
            if events[STARTED] and events[PAYMENT] and events[ENDED]:
                start, payment, end = events[STARTED], events[PAYMENT], events[ENDED]
                trip = {
                    "trip_key": start.trip_key,
                    "pickup_ts": start.pickup_ts,
                    "dropoff_ts": end.dropoff_ts,
                    "pu_zone_id": start.pu_zone_id,
                    "do_zone_id": end.do_zone_id,
                    "trip_distance": end.trip_distance,
                    "payment_type": payment.payment_type,
                    "fare_amount": payment.fare_amount,
                    "tip_amount": payment.tip_amount,
                    "total_amount": payment.total_amount,
                }
                while True:
                    try:
                        producer.produce(out, encode_value(trip), key)
                        break
                    except BufferError:
                        producer.poll(0.1)
                if all(events):
                    del trips[key]
            elif all(events):
                del trips[key]
        producer.poll(0)
    producer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
