"""Measures: declared once, and everything else follows from the declarations."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.model.measures import (
    MEASURES,
    MONEY_MEASURES,
    Measure,
    WindowValues,
    ZoneWindow,
    ZoneWindowStruct,
    add_to,
    change_of,
    compiled,
    dollars,
    taken_out,
)
from chillflow.model.table_rows import ZONE_WINDOW
from tests.unit.vocabulary import NOW, protocol_names, trip

SUMS = st.lists(st.integers(-(10**9), 10**9), min_size=len(MEASURES), max_size=len(MEASURES))


def test_measures_are_fields_of_the_window_and_columns_of_its_table_in_one_order() -> None:
    assert MEASURES[:2] == ("trips", "timed_trips")
    assert MONEY_MEASURES == ("total_amount", "fare_amount", "tip_amount")
    for fields in ([*ZoneWindow.model_fields], [*ZoneWindowStruct.__struct_fields__], [*ZONE_WINDOW.columns]):
        first = fields.index(MEASURES[0])
        assert fields[first:] == [*MEASURES, "final", "changes"]


def test_the_window_struct_has_the_values_that_code_reads() -> None:
    assert protocol_names(WindowValues) <= {*ZoneWindowStruct.__struct_fields__}


def test_a_new_measure_is_one_declaration() -> None:
    wanted = {
        "far_trips": Measure("int((trip.distance_km or 0.0) > 20)"),
        "tip": Measure("cents(trip.tip_amount)", "cents"),
    }
    change, add, in_dollars = compiled(wanted)
    far = trip().model_copy(update={"distance_km": 30.0, "tip_amount": 2.5})
    assert change(far) == (132, NOW + 600_000, 1, 250)
    cell = [4, 50, 7]
    add(cell, change(far))
    assert cell == [5, 300, 7]
    assert in_dollars([5, 300]) == (5, 3.0)
    assert in_dollars([5, 300])[0].__class__ is int


@given(SUMS, SUMS)
@settings(max_examples=50, deadline=None)
def test_adding_a_change_adds_each_measure_and_nothing_else(sums: list[int], added: list[int]) -> None:
    cell = [*sums, 3, 0]
    add_to(cell, (132, NOW, *added))
    assert cell == [*(one + other for one, other in zip(sums, added, strict=True)), 3, 0]
    add_to(cell, taken_out((132, NOW, *added)))
    assert cell == [*sums, 3, 0]


@given(SUMS)
@settings(max_examples=50, deadline=None)
def test_money_is_published_in_dollars_and_the_rest_unchanged(sums: list[int]) -> None:
    expected = [value / 100 if name in MONEY_MEASURES else value for name, value in zip(MEASURES, sums, strict=True)]
    assert [repr(each) for each in dollars(sums)] == [repr(each) for each in expected]


@pytest.mark.parametrize("name", MONEY_MEASURES)
@pytest.mark.parametrize("amount", [10**8 - 0.005, -(10**8), 1e300])
def test_money_that_no_table_can_hold_makes_no_change(name: str, amount: float) -> None:
    assert change_of(trip(**{name: amount})) is None


def test_a_distance_that_no_car_drives_makes_no_change() -> None:
    far = trip().model_copy(update={"distance_km": 10.0**6})
    assert far.duration_min is None
    assert change_of(far) is None


def test_a_drop_off_at_the_end_of_time_makes_no_change() -> None:
    assert change_of(trip(dropoff_ts="9999-12-31T23:00:00Z")) is None


@pytest.mark.parametrize(
    ("amount", "cents"),
    [
        (None, 0),
        (0.0, 0),
        (18.3, 1830),
        (-18.3, -1830),
        (0.125, 12),
        (0.375, 38),
        (2.675, 267),
        (99_999_999.99, 9_999_999_999),
    ],
)
def test_cents_are_rounded_as_the_tables_round_them(amount: float | None, cents: int) -> None:
    change = change_of(trip(total_amount=amount))
    assert change is not None
    assert change[2 + MEASURES.index("total_amount")] == cents


@pytest.mark.parametrize("name", ["distance_km", "total_amount", "fare_amount", "tip_amount"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e8])
def test_a_value_that_spoils_sums_excludes_its_trip(name: str, value: float) -> None:
    spoiled = type(trip()).model_construct(**trip(duration_min=10.0).model_dump() | {name: value})
    assert change_of(spoiled) is None
