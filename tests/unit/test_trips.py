"""CompleteTrip, its key, and the canonical form of unknown columns."""

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chillflow.model.codec import CompleteTripStruct, encode_value
from chillflow.model.trips import (
    KM_PER_MILE,
    CompleteTrip,
    TripValues,
    canonical_extra,
    derived,
    microseconds,
    milliseconds,
    numbered_key,
    row_digest,
)
from tests.unit.vocabulary import BEGINNING, EXTRAS, ONE_MINUTE_LATER, TIMES, protocol_names, trip, trips

BARE = {"pickup_ts": BEGINNING, "dropoff_ts": ONE_MINUTE_LATER, "pu_zone_id": 1, "do_zone_id": 2}


def test_a_key_never_changes() -> None:
    # Keys stay in topics and tables for years: if this fails, the code is wrong, not the test.
    assert CompleteTrip(**BARE).trip_key == "9b2907b99dc2d9eee5838f857eef6e6e7736b451812cc52d93c18b90af4ba8b6"
    assert trip(trip_key="").trip_key == "4e4631905a652e4930696192bec9ab5482b19b1bc0d3a17b07250cb6adee2b3b"
    everything = trip(
        trip_key="",
        rate_code=1,
        store_and_fwd_flag="é",
        trip_type=1,
        extra=0.5,
        mta_tax=-0.5,
        pickup_ts=BEGINNING + timedelta(microseconds=5),
        extra_columns={"b": [1, 2.5, None], "a": {"x": "y"}, "c": True},
    )
    assert everything.trip_key == "3224ca28a8eecf0a950020b2803dea3174d35214b1d22213550de6d6f54d908e"
    digest = row_digest([("a", 1), ("b", None)])
    assert digest.hex() == numbered_key(digest, 0) == "0713fe02cba45e60d7b8cea56581c7b1db1b0a04407b5783d664c1659c67f9df"
    assert numbered_key(digest, 1) == "a54fb7e710dd6e94229d82fdc6126762d52c71c0a2196c9fe94109c9e02d4ce7"


@pytest.mark.parametrize("name", sorted({*CompleteTrip.model_fields} - {"trip_key", "revision"}))
def test_the_key_covers_every_field_of_the_source_row(name: str) -> None:
    other: Any = {
        "service": "yellow",
        "pickup_ts": BEGINNING + timedelta(microseconds=1),
        "dropoff_ts": BEGINNING + timedelta(days=1),
        "store_and_fwd_flag": "N",
        "extra_columns": {"a": 1},
    }.get(name, 77)
    same = name in ("distance_km", "duration_min", "avg_speed_kmh")
    assert (trip(trip_key="", **{name: other}).trip_key == trip(trip_key="").trip_key) == same


def test_null_and_missing_give_the_same_key() -> None:
    nulls = {name: None for name in CompleteTrip.model_fields if name not in (*BARE, "trip_key", "revision")}
    assert CompleteTrip(**BARE, **nulls).trip_key == CompleteTrip(**BARE).trip_key


@pytest.mark.parametrize("extra", [None, {}, {"a": None}, {"a": {}}, {"a": math.nan}, {"a": {"b": {"c": None}}}])
def test_empty_extra_columns_are_null(extra: Any) -> None:
    one = CompleteTrip(**BARE, extra_columns=extra)
    assert one.extra_columns is None
    assert one.trip_key == CompleteTrip(**BARE).trip_key


def test_a_given_key_is_kept() -> None:
    assert CompleteTrip(**BARE, trip_key="any text").trip_key == "any text"


@pytest.mark.parametrize(
    ("given_time", "utc"),
    [
        ("2024-01-01T07:00:00", "2024-01-01T12:00:00"),
        ("2024-01-01 07:00:00", "2024-01-01T12:00:00"),
        ("2024-01-01T12:00:00Z", "2024-01-01T12:00:00"),
        ("2024-01-01T07:00:00-05:00", "2024-01-01T12:00:00"),
        (datetime(2024, 7, 1, 8), "2024-07-01T12:00:00"),  # noqa: DTZ001
        (datetime(2024, 1, 1, 7, tzinfo=ZoneInfo("America/New_York")), "2024-01-01T12:00:00"),
        ("2024-11-03T01:30:00", "2024-11-03T05:30:00"),  # ambiguous: the first
        ("2024-03-10T02:30:00", "2024-03-10T07:30:00"),  # skipped: the offset before
    ],
)
def test_times_without_an_offset_are_wall_time_of_new_york(given_time: Any, utc: str) -> None:
    one = CompleteTrip(**{**BARE, "pickup_ts": given_time})
    assert one.pickup_ts.isoformat() == utc + "+00:00"
    assert one.pickup_ts.tzinfo is UTC


def test_the_validation_context_gives_another_time_zone() -> None:
    values = {**BARE, "pickup_ts": "2024-01-01T13:00:00", "dropoff_ts": datetime(2024, 1, 1, 13, 1)}  # noqa: DTZ001
    one = CompleteTrip.model_validate(values, context={"time_zone": "Europe/Berlin"})
    assert (one.pickup_ts, one.dropoff_ts) == (BEGINNING, ONE_MINUTE_LATER)


def test_the_environment_does_not_change_how_a_trip_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHILLFLOW_SOURCE_TIME_ZONE", "Europe/Berlin")
    assert CompleteTrip(**{**BARE, "pickup_ts": "2024-01-01T07:00:00"}).pickup_ts == BEGINNING


@pytest.mark.parametrize(
    "wrong",
    [
        {"pickup_ts": "yesterday"},
        {"pickup_ts": None},
        {"pickup_ts": "0001-01-01T00:00:00+14:00"},
        {"pickup_ts": datetime.max},  # noqa: DTZ901
        {"pu_zone_id": 2**31},
        {"pu_zone_id": None},
        {"passenger_count": 1.5},
        {"fare_amount": math.inf},
        {"fare_amount": math.nan},
        {"service": "blue"},
        {"passengers": 1},
        {"extra_columns": [1]},
        {"extra_columns": "text"},
    ],
)
def test_an_invalid_trip_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CompleteTrip(**{**BARE, **wrong})


def test_a_trip_is_immutable() -> None:
    with pytest.raises(ValidationError):
        trip().pu_zone_id = 5  # type: ignore[misc]


def test_a_trip_and_its_struct_have_the_values_that_code_reads() -> None:
    one: TripValues = trip()  # checked by mypy
    assert protocol_names(TripValues) <= {*CompleteTripStruct.__struct_fields__}
    assert one.trip_key == "a-trip"


@given(trips())
@settings(max_examples=100, deadline=None)
def test_a_trip_survives_json(one: CompleteTrip) -> None:
    assert CompleteTrip.model_validate_json(one.model_dump_json()) == one
    struct = CompleteTripStruct(*(getattr(one, name) for name in CompleteTrip.model_fields))
    assert CompleteTrip.model_validate_json(encode_value(struct)) == one


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        (1, 1),
        (1.0, 1),
        (Decimal("1.00"), 1),
        (-0.0, 0),
        (True, True),
        (12.8, 12.8),
        (Decimal("12.80"), 12.8),
        (2.0**60, 2**60),
        (2**60, 2**60),
        (2**64 - 1, 2**64 - 1),
        (2**64, 2.0**64),
        (10**30, 1e30),
        (Decimal(10) ** 30, 1e30),
        (-(2**63) - 1, -(2.0**63) - 1),
        (10**400, None),
        (math.nan, None),
        (-math.inf, None),
        (Decimal("NaN"), None),
        (Decimal("1e400"), None),
        (b"abc", "abc"),
        (b"\xff", "\\xff"),
        (date(2024, 1, 1), "2024-01-01"),
        (datetime(2024, 1, 1), "2024-01-01T00:00:00"),  # noqa: DTZ001
        (BEGINNING, "2024-01-01T12:00:00Z"),
        (BEGINNING.astimezone(ZoneInfo("Asia/Tokyo")), "2024-01-01T12:00:00Z"),
        (timedelta(hours=1), "1:00:00"),
        ([1.0, None, {"b": None}], [1, None, None]),
        ((1, 2), [1, 2]),
        ({"b": 1, "a": {"d": None, "c": 2.0}}, {"a": {"c": 2}, "b": 1}),
    ],
)
def test_the_canonical_form_does_not_depend_on_the_type(value: Any, canonical: Any) -> None:
    made = canonical_extra(value)
    assert made == canonical
    assert type(made) is type(canonical)
    assert canonical_extra(made) == made
    encode_value(made)


@given(EXTRAS)
@settings(max_examples=200, deadline=None)
def test_the_canonical_form_is_idempotent(value: Any) -> None:
    once = canonical_extra(value)
    assert encode_value(canonical_extra(once)) == encode_value(once)


@given(TIMES, st.integers(-(10**6), 10**6))
@settings(max_examples=300, deadline=None)
def test_times_convert_exactly(time: datetime, ms: int) -> None:
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds(time)) == time
    assert milliseconds(time) == microseconds(time) // 1000
    assert milliseconds(time.astimezone(ZoneInfo("America/New_York"))) == milliseconds(time)


def test_derived_values() -> None:
    km, minutes, speed = derived(3.0, BEGINNING, BEGINNING + timedelta(minutes=30))
    assert km == 3 * KM_PER_MILE
    assert minutes == 30.0
    assert speed == pytest.approx(6 * KM_PER_MILE)


@pytest.mark.parametrize("span", [timedelta(0), timedelta(seconds=-1)])
def test_derived_values_without_meaning_are_null(span: timedelta) -> None:
    assert derived(3.0, BEGINNING, BEGINNING + span) == (3 * KM_PER_MILE, None, None)
    assert derived(None, BEGINNING, ONE_MINUTE_LATER) == (None, 1.0, None)
    assert derived(-1.0, BEGINNING, ONE_MINUTE_LATER) == (None, 1.0, None)
    assert derived(0.0, BEGINNING, ONE_MINUTE_LATER) == (0.0, 1.0, 0.0)
