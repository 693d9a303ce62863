"""The benchmarks measure what they say, and write their page themselves."""

from __future__ import annotations

import re

import pytest

from benchmarks.__main__ import RESULTS, SECTIONS
from benchmarks.budget import STEPS, functions
from benchmarks.streams import foreign
from chillflow.model.codec import decode, encode
from chillflow.model.events import EVENT_TYPES
from chillflow.model.structs import as_dict
from chillflow.model.trips import CompleteTrip
from chillflow.production.splitting import split

TRIP = CompleteTrip.model_validate_json(
    '{"pickup_ts": "2024-01-01T12:00:00Z", "dropoff_ts": "2024-01-01T12:10:00Z", "pu_zone_id": 132,'
    ' "do_zone_id": 239, "trip_distance": 1.98, "payment_type": 1, "fare_amount": 12.8, "total_amount": 18.3}'
)


def test_all_sections_of_the_page_are_generated() -> None:
    found = re.findall(r"^## (.*)$", RESULTS.read_text(), re.MULTILINE)
    assert found == [section for section in SECTIONS.values() if section in found]


@pytest.mark.parametrize("step", STEPS)
def test_the_functions_of_a_step_exist(step: str) -> None:
    found = [getattr(owner, name) for each, owner, name in functions() if each == step]
    assert len(found) == len(STEPS[step])
    assert all(map(callable, found))


@pytest.mark.parametrize("kind", range(len(EVENT_TYPES)), ids=EVENT_TYPES)
def test_a_foreign_message_is_the_same_event_in_other_bytes(kind: int) -> None:
    value = encode(split(TRIP)[kind])
    other = foreign(value)
    assert b"-05:00" in other
    assert b"event_id" not in other
    assert not other.isascii()
    without = dict.fromkeys(("event_id", "extra_columns"))
    assert as_dict(decode(other)) | without == as_dict(decode(value)) | without
