"""The same job in Pathway, run by its own interpreter (see `peers`): joins, one-hour windows, no persistence.

    python benchmarks/peer_pathway.py SERVERS TOPIC TRIPS_TOPIC WINDOWS_TOPIC TRIPS

It reads the topic as one static table and exits, so each trip and each window is written once. The fields are spelled
out because `chillflow` is not installed where this runs.
"""

import logging
import sys
from datetime import timedelta

import pathway as pw

TEXTS = ("event_type", "event_time", "pickup_ts", "dropoff_ts", "service", "store_and_fwd_flag")
NUMBERS = ("pu_zone_id", "do_zone_id", "vendor_id", "passenger_count", "rate_code", "trip_type", "payment_type")
AMOUNTS = (
    "fare_amount",
    "extra",
    "mta_tax",
    "tip_amount",
    "tolls_amount",
    "improvement_surcharge",
    "congestion_surcharge",
    "airport_fee",
    "cbd_congestion_fee",
    "ehail_fee",
    "total_amount",
)
STARTED = ("pickup_ts", "pu_zone_id", "service", "vendor_id", "passenger_count", "rate_code", "trip_type")
ENDED = ("dropoff_ts", "do_zone_id", "trip_distance")
PAID = ("payment_type", *AMOUNTS)


def main(servers: str, topic: str, trips_topic: str, windows_topic: str) -> None:
    """Process the topic to its end."""
    logging.disable(logging.WARNING)
    settings = {"bootstrap.servers": servers, "group.id": f"pathway-{trips_topic}", "auto.offset.reset": "earliest"}
    types: dict[str, object] = {
        **dict.fromkeys(TEXTS, str | None),
        **dict.fromkeys(NUMBERS, int | None),
        **dict.fromkeys(("trip_distance", *AMOUNTS), float | None),
    }
    optional = {name: pw.column_definition(dtype=of, default_value=None) for name, of in types.items()}
    schema = pw.schema_builder({"trip_key": pw.column_definition(dtype=str), **optional})
    events = pw.io.kafka.read(settings, topic, schema=schema, format="json", mode="static")
    started = events.filter(events.event_type == "trip_started")
    paid = events.filter(events.event_type == "payment_processed")
    ended = events.filter(events.event_type == "trip_ended")
    begun = started.join(paid, started.trip_key == paid.trip_key).select(
        started.trip_key, *(started[name] for name in STARTED), *(paid[name] for name in PAID)
    )
    trips = begun.join(ended, begun.trip_key == ended.trip_key).select(
        *(begun[name] for name in ("trip_key", *STARTED, *PAID)), *(ended[name] for name in ENDED)
    )
    pw.io.kafka.write(trips, settings, topic_name=trips_topic, format="json", key=trips.trip_key)
    timed = trips.select(
        zone=pw.cast(str, pw.unwrap(trips.pu_zone_id)),
        at=pw.unwrap(trips.dropoff_ts).dt.strptime("%Y-%m-%dT%H:%M:%SZ"),
    )
    window = pw.temporal.tumbling(timedelta(hours=1))
    windows = timed.windowby(timed.at, window=window, instance=timed.zone).reduce(
        zone=pw.this._pw_instance, start=pw.this._pw_window_start, value=pw.reducers.count()
    )
    pw.io.kafka.write(windows, settings, topic_name=windows_topic, format="json", key=windows.zone)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)


if __name__ == "__main__":
    main(*sys.argv[1:5])
