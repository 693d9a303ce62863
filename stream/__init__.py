"""The public API: `from stream import TripEventProducer, TripStartedEvent`.

Holds: re-exported names, nothing of its own.
May import: model, assembly, production.
"""

from chillflow.assembly.assembler import TripAssembler
from chillflow.model.events import (
    Event,
    PaymentProcessedEvent,
    TripEndedEvent,
    TripStartedEvent,
    ZoneEnteredEvent,
    ZoneExitedEvent,
)
from chillflow.model.trips import CompleteTrip, IncompleteTrip
from chillflow.production.producer import SendStats, TripEventProducer

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
