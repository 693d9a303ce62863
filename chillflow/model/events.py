"""The five events of a trip, one discriminated union. These models are the one definition of the schema."""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeAlias, get_args

import msgspec
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from chillflow.model.structs import Json, StructClass, derive
from chillflow.model.trips import Extra, Float, Int, UtcTime

__all__ = [
    "EVENT_CLASSES",
    "EVENT_TYPES",
    "PICKUP_EVENTS",
    "SCHEMA_VERSION",
    "DecodedEnd",
    "DecodedEvent",
    "DecodedPayment",
    "DecodedStart",
    "Envelope",
    "Event",
    "PaymentProcessedEvent",
    "TripEndedEvent",
    "TripEvent",
    "TripStartedEvent",
    "ZoneEnteredEvent",
    "ZoneExitedEvent",
    "event_adapter",
    "wire",
]

SCHEMA_VERSION = 1
_encoder = msgspec.json.Encoder()


class DecodedEvent(Protocol):
    """An event as the fast decoder makes it: an instance of the struct derived from the event's model."""

    event_id: str
    trip_key: str
    event_time: datetime
    event_version: int


class DecodedStart(DecodedEvent, Protocol):
    """A `trip_started`, and what a `zone_exited` has of it."""

    pickup_ts: datetime
    pu_zone_id: int


class DecodedPayment(DecodedEvent, Protocol):
    """A `payment_processed`; dollars."""

    payment_type: int | None
    fare_amount: float | None
    tip_amount: float | None
    total_amount: float | None


class DecodedEnd(DecodedEvent, Protocol):
    """A `trip_ended`."""

    dropoff_ts: datetime
    do_zone_id: int
    trip_distance: float | None
    """Miles."""
    extra_columns: dict[str, Json] | None


class Envelope:
    """What begins an event of one type on the wire: its `event_id`, which is hashed over all the rest, and its type."""

    def __init__(self, event_type: str) -> None:
        tag = b'"event_type":"%b",' % event_type.encode()
        self._start = b'{%b"event_id":"",' % tag
        """How an event without its id begins as msgspec writes it."""
        self.hash = blake2b(self._start, digest_size=16).copy
        """A new hash that has taken in this beginning. To begin from a copy takes a fifth less."""
        self.after_id = b'",' + tag
        """What stands between the id and the content."""

    def content(self, struct: DecodedEvent) -> bytes:
        """What comes after the id and the type. The struct's `event_id` must be ""."""
        return _encoder.encode(struct)[len(self._start) :]

    def seal(self, content: bytes) -> bytes:
        """An event's bytes on the wire."""
        digest = self.hash()
        digest.update(content)
        return b'{"event_id":"' + digest.hexdigest().encode() + self.after_id + content


_ENVELOPES: dict[object, Envelope] = {}


def wire(struct: DecodedEvent) -> bytes:
    """An event's bytes on the wire. Its `event_id` must be "": it is computed here, from all the rest."""
    envelope = _ENVELOPES[type(struct)]
    return envelope.seal(envelope.content(struct))


class TripEvent(BaseModel):
    """What all five events have.

    `event_id` is a hash of the content, filled in where it is not given: the same event has the same id
    however often it is produced, a corrected one another. A correction carries a higher `event_version`.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    struct: ClassVar[StructClass[DecodedEvent]]
    """The fast twin of this model, derived from it."""
    envelope: ClassVar[Envelope]
    """How its bytes begin."""
    needed: ClassVar[bool] = True
    """Whether a complete trip must have this event."""
    at_pickup: ClassVar[bool] = False
    """Whether it happens at the pickup; the others happen at the drop-off."""

    event_id: str = ""
    event_type: str
    trip_key: str = Field(min_length=1)
    event_time: UtcTime
    schema_version: Annotated[int, Field(ge=1, le=SCHEMA_VERSION)] = SCHEMA_VERSION
    event_version: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        event_type = cls.model_fields["event_type"].default
        cls.struct = derive(cls, tag=event_type)
        cls.envelope = _ENVELOPES[cls.struct] = Envelope(event_type)

    def model_post_init(self, context: object, /) -> None:
        """Fill in the id where none was given."""
        if not self.event_id:
            content = wire(self.to_struct())
            object.__setattr__(self, "event_id", msgspec.json.decode(content, type=_Id).event_id)

    def to_struct(self) -> DecodedEvent:
        """The same event as its fast twin."""
        return self.struct(*(getattr(self, name) for name in self.struct.__struct_fields__))


class _Id(msgspec.Struct):
    event_id: str


class TripStartedEvent(TripEvent):
    """A trip began; its event_time is the pickup."""

    at_pickup = True
    event_type: Literal["trip_started"] = "trip_started"
    pickup_ts: UtcTime
    pu_zone_id: Int
    service: Literal["yellow", "green"] | None = None
    vendor_id: Int | None = None
    passenger_count: Int | None = None
    rate_code: Int | None = None
    store_and_fwd_flag: str | None = None
    trip_type: Int | None = None


class ZoneExitedEvent(TripEvent):
    """The cab left the pickup zone; its event_time is the pickup."""

    needed = False
    at_pickup = True
    event_type: Literal["zone_exited"] = "zone_exited"
    pickup_ts: UtcTime
    pu_zone_id: Int


class ZoneEnteredEvent(TripEvent):
    """The cab reached the drop-off zone; its event_time is the drop-off."""

    needed = False
    event_type: Literal["zone_entered"] = "zone_entered"
    dropoff_ts: UtcTime
    do_zone_id: Int


class PaymentProcessedEvent(TripEvent):
    """The fare was paid, or refunded (negative amounts); dollars; its event_time is the drop-off."""

    event_type: Literal["payment_processed"] = "payment_processed"
    payment_type: Int | None = None
    fare_amount: Float | None = None
    extra: Float | None = None
    mta_tax: Float | None = None
    tip_amount: Float | None = None
    tolls_amount: Float | None = None
    improvement_surcharge: Float | None = None
    congestion_surcharge: Float | None = None
    airport_fee: Float | None = None
    cbd_congestion_fee: Float | None = None
    ehail_fee: Float | None = None
    total_amount: Float | None = None


class TripEndedEvent(TripEvent):
    """A trip ended; its event_time is the drop-off."""

    event_type: Literal["trip_ended"] = "trip_ended"
    dropoff_ts: UtcTime
    do_zone_id: Int
    trip_distance: Float | None = Field(None, description="miles")
    extra_columns: Extra = None


Event: TypeAlias = Annotated[
    TripStartedEvent | ZoneExitedEvent | ZoneEnteredEvent | PaymentProcessedEvent | TripEndedEvent,
    Field(discriminator="event_type"),
]
"""All types of events, in the order in which a trip is split: those at the pickup first."""
event_adapter: TypeAdapter[Event] = TypeAdapter(Event)

EVENT_CLASSES: tuple[type[TripEvent], ...] = get_args(get_args(Event)[0])
"""The members of `Event`."""
EVENT_TYPES: tuple[str, ...] = tuple(cls.model_fields["event_type"].default for cls in EVENT_CLASSES)
PICKUP_EVENTS = sum(cls.at_pickup for cls in EVENT_CLASSES)
"""The number of events at the pickup, which come first in EVENT_CLASSES."""
assert all(cls.at_pickup for cls in EVENT_CLASSES[:PICKUP_EVENTS]), "events at the pickup come first"
