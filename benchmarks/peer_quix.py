"""The same job in Quix Streams, run by its own interpreter (see `peers`): its state store and windows, at-least-once.

    python benchmarks/peer_quix.py SERVERS TOPIC TRIPS_TOPIC WINDOWS_TOPIC TRIPS

It exits when TRIPS trips have reached its windows.
"""

import sys
import tempfile
from datetime import timedelta
from typing import Any

from quixstreams import Application

KINDS = ("trip_started", "zone_exited", "zone_entered", "payment_processed", "trip_ended")
NEEDED = (0, 3, 4)
GRACE = timedelta(days=7)


def assemble(event: dict[str, Any], state: Any) -> dict[str, Any] | None:
    """The trip, once its start, payment and end have arrived."""
    events = state.get("events") or [None] * len(KINDS)
    before = all(events[kind] for kind in NEEDED)
    events[KINDS.index(event["event_type"])] = event
    if all(events):
        state.delete("events")
    else:
        state.set("events", events)
    if before or not all(events[kind] for kind in NEEDED):
        return None
    start, _, _, payment, end = events
    return {**start, **payment, **end}


def main(servers: str, topic: str, trips_topic: str, windows_topic: str, trips: int) -> None:
    """Run until `trips` trips have reached the windows."""
    counted = 0

    def count(trip: dict[str, Any]) -> None:
        nonlocal counted
        counted += 1
        if counted == trips:
            app.stop()

    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=servers,
            consumer_group=f"quix-{trips_topic}",
            auto_offset_reset="earliest",
            state_dir=folder,
            commit_interval=2.0,
            loglevel="ERROR",
        )
        read = app.dataframe(app.topic(topic, key_deserializer="str", value_deserializer="json"))
        complete = read.apply(assemble, stateful=True).filter(lambda trip: trip is not None)
        complete = complete.to_topic(app.topic(trips_topic, key_serializer="str", value_serializer="json"))
        by_zone = complete.group_by(lambda trip: str(trip["pu_zone_id"]), name="zone").update(count)
        windows = by_zone.tumbling_window(timedelta(hours=1), grace_ms=GRACE)
        out = app.topic(windows_topic, key_serializer="str", value_serializer="json")
        windows.count().current().to_topic(out)
        app.run()


if __name__ == "__main__":
    servers, topic, trips_topic, windows_topic, trips = sys.argv[1:]
    main(servers, topic, trips_topic, windows_topic, int(trips))
