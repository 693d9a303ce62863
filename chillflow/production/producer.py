"""`TripEventProducer`, the Python API of production."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chillflow.connectors import open_log
from chillflow.connectors.log import Log
from chillflow.errors import DeliveryError
from chillflow.model.codec import encode
from chillflow.model.events import Event, TripEvent
from chillflow.model.messages import Message
from chillflow.model.topics import TopicSpec, registry
from chillflow.model.trips import CompleteTrip, milliseconds
from chillflow.production.splitting import split
from chillflow.settings import Settings, load

__all__ = ["SendStats", "TripEventProducer"]


@dataclass(frozen=True)
class SendStats:
    """Counts of sent events after the broker's acknowledgements; `sent` = `delivered` + `failed`."""

    sent: int
    delivered: int
    failed: int
    error: str | None = None
    """The first delivery error."""


class TripEventProducer:
    """Splits trips into events and sends them to Kafka. Settings come from the environment unless given.

    Connects on the first `send_events`.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or load()
        self._log: Log = open_log(self._settings)
        self._ready: set[str] = set()

    def process_trip(self, trip: CompleteTrip) -> list[Event]:
        """The five events of a trip, in the order of `EVENT_TYPES`."""
        return split(trip)

    def send_events(self, events: Iterable[TripEvent], topic: str | None = None) -> SendStats:
        """Send events and wait for the broker's acknowledgements.

        `topic` defaults to the topic of the settings and is created if missing. Raises KafkaUnavailableError if no
        broker answers within `kafka_timeout`, UnknownTopicError if the topic is missing and `create_topics` is off.
        """
        name = topic or self._settings.topic
        self._ensure(name)
        writer = self._log.writer("trip-event-producer")
        sent, error = 0, None
        try:
            for event in events:
                timestamp = milliseconds(event.event_time)
                writer.send(Message(name, event.trip_key.encode(), encode(event), timestamp))
                sent += 1
            writer.flush()
        except DeliveryError as failure:
            error = str(failure)
        finally:
            delivered = writer.delivered
            writer.close()
        return SendStats(sent, delivered, sent - delivered, error)

    def _ensure(self, topic: str) -> None:
        if topic not in self._ready and self._settings.create_topics:
            known = registry(self._settings)
            spec = known.get(topic) or TopicSpec(topic, "trip_key", "one of the five events", ("event_id",))
            self._log.ensure_topics([spec], self._settings.partitions, self._settings.replication_factor)
        self._log.partitions(topic)
        self._ready.add(topic)
