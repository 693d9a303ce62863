"""Helpers that the unit tests share: a trip and its events, records, and Hypothesis strategies for them."""

import pickle
from collections.abc import Collection, Iterable, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st

from chillflow.assembly import state_codec
from chillflow.assembly.rules import Assembly
from chillflow.assembly.trip_state import Result, TripState
from chillflow.keyed.batches import Batch, Record, RecordColumns
from chillflow.keyed.deadlines import NEVER
from chillflow.keyed.group import KeyedLogic, KeyGroup
from chillflow.keyed.packing import SPAN_BITS, PieceFormat
from chillflow.keyed.state_store import Contents, StateFormat
from chillflow.model.codec import decode_all, encode
from chillflow.model.events import (
    DecodedEvent,
    Event,
    PaymentProcessedEvent,
    TripEndedEvent,
    TripEvent,
    TripStartedEvent,
    ZoneEnteredEvent,
    ZoneExitedEvent,
)
from chillflow.model.messages import Message
from chillflow.model.trips import CompleteTrip, milliseconds
from chillflow.production.rejected import RejectedRow, dead_letters
from chillflow.production.replay import Replayed
from chillflow.production.splitting import Events, PlacedEvent, encode_events, split

BEGINNING = datetime(2024, 1, 1, 12, tzinfo=UTC)
ONE_MINUTE_LATER = BEGINNING + timedelta(minutes=1)
TEN_MINUTES_LATER = BEGINNING + timedelta(minutes=10)
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
"""Milliseconds, as in watermarks."""
NOW = milliseconds(BEGINNING)
TIMEOUT, CORRECTION, INCOMPLETE = timedelta(hours=25), timedelta(hours=24), timedelta(days=8)
KEY = "a-trip"
E = TypeVar("E")


def trip(**fields: Any) -> CompleteTrip:
    """A trip of ten minutes that starts at BEGINNING."""
    return CompleteTrip(
        **{
            "trip_key": KEY,
            "service": "green",
            "vendor_id": 2,
            "pickup_ts": BEGINNING,
            "dropoff_ts": TEN_MINUTES_LATER,
            "pu_zone_id": 132,
            "do_zone_id": 239,
            "passenger_count": 1,
            "trip_distance": 1.98,
            "payment_type": 1,
            "fare_amount": 12.8,
            "tip_amount": 2.5,
            "total_amount": 18.3,
            **fields,
        }
    )


def start_event(**fields: Any) -> TripStartedEvent:
    """The start of the trip."""
    return TripStartedEvent(
        **{
            "trip_key": KEY,
            "event_time": BEGINNING,
            "pickup_ts": BEGINNING,
            "pu_zone_id": 132,
            "service": "green",
            "vendor_id": 2,
            "passenger_count": 1,
            **fields,
        }
    )


def exit_event(**fields: Any) -> ZoneExitedEvent:
    """The cab leaves the pickup zone."""
    return ZoneExitedEvent(
        **{"trip_key": KEY, "event_time": BEGINNING, "pickup_ts": BEGINNING, "pu_zone_id": 132, **fields}
    )


def enter_event(**fields: Any) -> ZoneEnteredEvent:
    """The cab reaches the drop-off zone."""
    return ZoneEnteredEvent(
        **{
            "trip_key": KEY,
            "event_time": TEN_MINUTES_LATER,
            "dropoff_ts": TEN_MINUTES_LATER,
            "do_zone_id": 239,
            **fields,
        }
    )


def payment_event(**fields: Any) -> PaymentProcessedEvent:
    """The fare is paid."""
    return PaymentProcessedEvent(
        **{
            "trip_key": KEY,
            "event_time": TEN_MINUTES_LATER,
            "payment_type": 1,
            "fare_amount": 12.8,
            "tip_amount": 2.5,
            "total_amount": 18.3,
            **fields,
        }
    )


def end_event(**fields: Any) -> TripEndedEvent:
    """The end of the trip."""
    return TripEndedEvent(
        **{
            "trip_key": KEY,
            "event_time": TEN_MINUTES_LATER,
            "dropoff_ts": TEN_MINUTES_LATER,
            "do_zone_id": 239,
            "trip_distance": 1.98,
            **fields,
        }
    )


def five() -> list[Event]:
    """The five events of the trip, in the order in which a trip is split."""
    return [start_event(), exit_event(), enter_event(), payment_event(), end_event()]


def assembly() -> Assembly:
    """The rules with the default timeouts."""
    return Assembly(TIMEOUT, CORRECTION, INCOMPLETE)


def keyed() -> KeyedLogic[TripState, DecodedEvent, Result]:
    """Assembly as a key group runs it."""
    rules = assembly()
    pieces = PieceFormat(state_codec.SCHEMA, state_codec.adapt)
    states = StateFormat(state_codec.dump, state_codec.load, state_codec.is_closed, pieces)
    return KeyedLogic(rules.assemble, rules.expire, states, rules.slots)


def group(
    snapshot: Any = None, logic: KeyedLogic[TripState, DecodedEvent, Result] | None = None
) -> KeyGroup[TripState, DecodedEvent, Result]:
    """A key group of trips."""
    return KeyGroup(logic or keyed(), snapshot)


def messages(replayed: Iterable[Replayed]) -> list[Message]:
    """The messages of replayed rows: dead letters to `dlq` first, then events to `events`."""
    items = [*replayed]
    letters = dead_letters([item for item in items if isinstance(item, RejectedRow)], "dlq")
    events = Events.of([item for item in items if isinstance(item, PlacedEvent)])
    return [*letters, *encode_events(events, "events")]


def contents(one: KeyGroup[Any, Any, Any], watermark: int, logic: KeyedLogic[Any, Any, Any] | None = None) -> Contents:
    """The contents of a group that has received this watermark last. Asserts what holds for any group at any time."""
    twin = deepcopy(one)  # a snapshot packs states, an inspection writes pieces
    found = twin.inspect()
    states = found.live | found.packed_open | found.closed
    assert len(states) == len(found.live) + len(found.packed_open) + len(found.closed), "a key is in one tier"
    expiring = {key: deadline for key, deadline in (found.live | found.packed_open).items() if deadline < NEVER}
    assert found.registered == sorted((deadline, key) for key, deadline in expiring.items())
    assert min(expiring.values(), default=watermark) >= watermark, "what the watermark has passed has expired"
    assert min(found.closed.values(), default=watermark) >> SPAN_BITS >= watermark >> SPAN_BITS, "or was dropped"
    restored = KeyGroup(logic or keyed(), pickle.loads(pickle.dumps(twin.snapshot())))
    assert restored.inspect() == twin.inspect()
    return found


def held(
    one: KeyGroup[Any, Any, Any], watermark: int, logic: KeyedLogic[Any, Any, Any] | None = None
) -> dict[bytes, int]:
    """The deadlines (ms) of the keys that have a state at this watermark; a closed state may be dropped later."""
    found = contents(one, watermark, logic)
    return found.live | found.packed_open | {key: due for key, due in found.closed.items() if due >= watermark}


def records(some: Iterable[TripEvent | Record]) -> list[Record]:
    """Events as records of one partition; what is a record already is left as it is."""
    return [
        each
        if isinstance(each, Record)
        else Record(offset, milliseconds(each.event_time), each.trip_key.encode(), encode(each), None)
        for offset, each in enumerate(some)
    ]


def batch(some: Iterable[TripEvent | Record], watermarks: int | Sequence[int] = NOW) -> Batch[DecodedEvent]:
    """Events or records as a source emits them, at a fixed watermark (ms) or at the given ones."""
    made = records(some)
    columns = RecordColumns.of(made) if made else RecordColumns((), (), (), (), ())
    times = watermarks if isinstance(watermarks, Sequence) else [watermarks] * len(made)
    return Batch(columns, decode_all(columns.keys, columns.values), times, None, decode_all)


def cut(whole: Batch[E], places: Collection[int]) -> list[Batch[E]]:
    """The batch in parts that begin at these places."""
    return [*whole.split([sum(place <= at for place in places) for at in range(len(whole))]).values()]


def without_revision(result: Any) -> dict[str, Any]:
    """The values of a result's trip."""
    return {name: getattr(result.trip, name) for name in result.trip.__struct_fields__ if name != "revision"}


def protocol_names(protocol: type) -> set[str]:
    """The names of the values that a protocol of this package and its bases declare."""
    own = [each for each in protocol.__mro__ if each.__module__.startswith("chillflow")]
    return {
        name
        for each in own
        for name in (*vars(each).get("__annotations__", ()), *vars(each))
        if not name.startswith("_")
    }


_INTS = st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1), st.integers(0, 9))
_MONEY = st.one_of(
    st.none(),
    st.integers(-10_000, 100_000).map(lambda cents: cents / 100),
    st.floats(allow_nan=False, allow_infinity=False),
)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    _TEXT,
)
EXTRAS: st.SearchStrategy[dict[str, Any] | None] = st.one_of(
    st.none(),
    st.dictionaries(
        _TEXT,
        st.recursive(
            _SCALARS,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
            max_leaves=5,
        ),
        max_size=3,
    ),
)
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
_SPANS = st.one_of(
    st.just(timedelta(0)),
    st.timedeltas(timedelta(hours=-3), timedelta(hours=3)),
    st.timedeltas(-INCOMPLETE, INCOMPLETE),
)


@st.composite
def trips(draw: st.DrawFn, key: st.SearchStrategy[str] | None = None) -> CompleteTrip:
    """Any trip: with microseconds, with a drop-off before its pickup, with few or all fields."""
    pickup = draw(TIMES)
    if draw(st.booleans()):
        pickup = pickup.replace(microsecond=0)
    amounts = {name: draw(_MONEY) for name in PaymentProcessedEvent.model_fields if name.endswith("amount")}
    fees = {
        name: draw(_MONEY)
        for name in ("extra", "mta_tax", "improvement_surcharge", "congestion_surcharge", "airport_fee", "ehail_fee")
    }
    numbers = {name: draw(_INTS) for name in ("vendor_id", "passenger_count", "rate_code", "trip_type", "payment_type")}
    return CompleteTrip(
        **({"trip_key": draw(key)} if key is not None else {}),
        service=draw(st.sampled_from(["yellow", "green", None])),
        pickup_ts=pickup,
        dropoff_ts=pickup + draw(_SPANS),
        pu_zone_id=draw(st.integers(-(2**31), 2**31 - 1)),
        do_zone_id=draw(st.integers(1, 265)),
        store_and_fwd_flag=draw(st.none() | _TEXT),
        trip_distance=draw(_MONEY),
        cbd_congestion_fee=draw(_MONEY),
        extra_columns=draw(EXTRAS),
        **amounts,
        **fees,
        **numbers,
    )


def events() -> st.SearchStrategy[Event]:
    """Any event."""
    return trips().flatmap(lambda one: st.sampled_from(split(one)))
