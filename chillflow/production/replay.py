"""Frames of events -> Python objects in sending order, as columns or as single events. Pure, on frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import polars as pl

from chillflow.production.rejected import RejectedRow
from chillflow.production.splitting import Events, PlacedEvent

__all__ = ["ReplayStats", "Replayed", "replay_columns", "replay_singly"]

_EVENTS = 2_048
"""Events turned into Python objects at a time."""
Replayed: TypeAlias = PlacedEvent | RejectedRow


@dataclass
class ReplayStats:
    """Counts of a replay so far."""

    trips: int = 0
    events: int = 0
    rejected: int = 0
    first: int | None = None
    """Event time of the first event, µs since 1970."""


def replay_columns(events: Iterable[pl.DataFrame | list[RejectedRow]]) -> Iterator[Events | RejectedRow]:
    """Columns of up to 2,048 events, and the rejected rows."""
    for item in events:
        if isinstance(item, list):
            yield from item
            continue
        for part in item.iter_slices(_EVENTS):
            yield Events(*(column.to_list() for column in part.select(Events._fields)))


def replay_singly(
    events: Iterable[pl.DataFrame | list[RejectedRow]],
    disorder: Callable[[Iterable[PlacedEvent]], Iterable[PlacedEvent]] = iter,
    stats: ReplayStats | None = None,
) -> Iterator[Replayed]:
    """Single events in the order that `disorder` gives them, and the rejected rows. Counts trips in `stats`."""
    stats = stats or ReplayStats()
    rejected: list[RejectedRow] = []

    def placed() -> Iterator[PlacedEvent]:
        for item in replay_columns(events):
            if isinstance(item, RejectedRow):
                rejected.append(item)
                continue
            for time, kind, key, content in zip(*item, strict=True):
                if kind == 0:
                    stats.trips += 1
                yield PlacedEvent(time, time, kind, key, content)

    for event in disorder(placed()):
        if rejected:
            yield from rejected
            rejected.clear()
        yield event
    yield from rejected
