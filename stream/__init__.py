"""The public API: `from stream import TripEventProducer, TripStartedEvent`."""

from chillflow.assembler import TripAssembler
from chillflow.events import (
    Event,
    PaymentProcessedEvent,
    TripEndedEvent,
    TripStartedEvent,
    ZoneEnteredEvent,
    ZoneExitedEvent,
)
from chillflow.producer import SendStats, TripEventProducer
from chillflow.trips import CompleteTrip, IncompleteTrip

__all__ = [
    "CompleteTrip",
    "Event",
    "IncompleteTrip",
    "PaymentProcessedEvent",
    "SendStats",
    "TripAssembler",
    "TripEndedEvent",
    "TripEventProducer",
    "TripStartedEvent",
    "ZoneEnteredEvent",
    "ZoneExitedEvent",
]
