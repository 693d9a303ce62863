"""Which of two events of one type counts."""

from __future__ import annotations

from itertools import permutations

import pytest

from chillflow.assembly.precedence import Precedence, precedence
from chillflow.model.codec import decode, encode
from chillflow.model.events import DecodedEvent
from tests.unit.vocabulary import start_event


def event(event_id: str, version: int) -> DecodedEvent:
    return decode(encode(start_event(event_id=event_id, event_version=version)))


@pytest.mark.parametrize(
    ("given", "held", "expected"),
    [
        (("a", 0), None, "newer"),
        (("a", 0), ("a", 0), "duplicate"),
        (("a", 2), ("a", 1), "duplicate"),
        (("a", 1), ("b", 0), "newer"),
        (("b", 0), ("a", 1), "superseded"),
        (("b", 0), ("a", 0), "newer"),
        (("a", 0), ("b", 0), "superseded"),
    ],
)
def test_the_higher_version_and_then_the_higher_id_counts(
    given: tuple[str, int], held: tuple[str, int] | None, expected: Precedence
) -> None:
    assert precedence(event(*given), held and event(*held)) == expected


def test_every_order_of_arrival_ends_with_the_same_event() -> None:
    winners = set()
    for order in permutations([event("a", 0), event("b", 1), event("c", 1), event("c", 1)]):
        held: DecodedEvent | None = None
        for each in order:
            if precedence(each, held) == "newer":
                held = each
        assert held is not None
        winners.add(held.event_id)
    assert winners == {"c"}
