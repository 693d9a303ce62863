"""The five events of a trip, a discriminated union; these models define the schema. Pure."""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeAlias, get_args

import msgspec
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from chillflow.model.structs import Json, StructClass, derive
from chillflow.model.trips import TRIP_FIELDS, Extra, Float, Int, UtcTime

__all__ = [
    "CARRIED",
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
]

SCHEMA_VERSION = 1
_encoder = msgspec.json.Encoder()


class DecodedEvent(Protocol):
    """A decoded event: an instance of the struct derived from the event's model."""

    event_id: str
    trip_key: str
    event_time: datetime
    event_version: int


class DecodedStart(DecodedEvent, Protocol):
    """A decoded `trip_started` or `zone_exited`."""

    pickup_ts: datetime
    pu_zone_id: int


class DecodedPayment(DecodedEvent, Protocol):
    """A decoded `payment_processed`; amounts in dollars."""

    payment_type: int | None
    fare_amount: float | None
    tip_amount: float | None
    total_amount: float | None


class DecodedEnd(DecodedEvent, Protocol):
    """A decoded `trip_ended`; a `zone_entered` has the time and the zone only."""

    dropoff_ts: datetime
    do_zone_id: int
    trip_distance: float | None
    """Miles."""
    extra_columns: dict[str, Json] | None


class Envelope:
    """The head of the events of one type on the wire: `event_id`, a hash of everything else, and `event_type`."""

    def __init__(self, event_type: str) -> None:
        tag = b'"event_type":"%b",' % event_type.encode()
        self._start = b'{%b"event_id":"",' % tag
        """The head as msgspec writes it, with an empty id."""
        self.hash = blake2b(self._start, digest_size=16).copy
        """Returns a hash that has already taken in the head, which saves a fifth of the time."""
        self.after_id = b'",' + tag
        """The bytes between id and content."""

    def content(self, struct: DecodedEvent) -> bytes:
        """The bytes after the head. The struct's `event_id` must be ""."""
        return _encoder.encode(struct)[len(self._start) :]

    def event_id(self, content: bytes) -> str:
        """The id of the event with this content."""
        digest = self.hash()
        digest.update(content)
        return digest.hexdigest()


class TripEvent(BaseModel):
    """The fields that all five events share.

    `event_id` defaults to a hash of the content: an event has the same id however often it is produced, a correction
    has another one, and a higher `event_version`.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    struct: ClassVar[StructClass[DecodedEvent]]
    """The struct derived from this model."""
    envelope: ClassVar[Envelope]
    """The head of its events on the wire."""
    needed: ClassVar[bool] = True
    """Whether a complete trip must have this event."""
    at_pickup: ClassVar[bool] = False
    """Whether it happens at the pickup, else at the drop-off."""

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
        cls.envelope = Envelope(event_type)

    def model_post_init(self, context: object, /) -> None:
        """Compute the id if none was given."""
        if not self.event_id:
            content = self.envelope.content(self.to_struct())
            object.__setattr__(self, "event_id", self.envelope.event_id(content))

    def to_struct(self) -> DecodedEvent:
        """The event as its struct."""
        return self.struct(*(getattr(self, name) for name in self.struct.__struct_fields__))


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
    """The fare was paid, or refunded (negative amounts), in dollars; its event_time is the drop-off."""

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
"""Any of the five events, listed in the order of a trip, those at the pickup first."""
event_adapter: TypeAdapter[Event] = TypeAdapter(Event)

EVENT_CLASSES: tuple[type[TripEvent], ...] = get_args(get_args(Event)[0])
"""The classes in `Event`; the index of a class is the `kind` of its events."""
EVENT_TYPES: tuple[str, ...] = tuple(cls.model_fields["event_type"].default for cls in EVENT_CLASSES)
CARRIED = tuple(tuple(name for name in cls.model_fields if name in TRIP_FIELDS) for cls in EVENT_CLASSES)
"""By kind, the fields of a trip that an event carries."""
PICKUP_EVENTS = sum(cls.at_pickup for cls in EVENT_CLASSES)
"""The number of events at the pickup, which come first in EVENT_CLASSES."""
assert all(cls.at_pickup for cls in EVENT_CLASSES[:PICKUP_EVENTS]), "events at the pickup come first"
