"""Trips to replay: which rows are taken, in which order their events come, and what is sent. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple, TypeAlias

from chillflow.model.codec import encode_value
from chillflow.model.messages import Message, dead_letter
from chillflow.model.trips import microseconds
from chillflow.production.splitting import ROW_FIELDS, Leg, TripRow, schedule

__all__ = ["RejectedRow", "ReplayStats", "Replayed", "Screen", "dead_letters", "replay", "woven"]


class RejectedRow(NamedTuple):
    """A row that is no trip: where it is, why, and what it says (JSON)."""

    file: str
    row: int | str
    """Number in the file, from 0; the trip_key where the trips come from a table."""
    reason: str
    value: bytes | None


Replayed: TypeAlias = Leg | RejectedRow
_NAMES = ROW_FIELDS[2:]


@dataclass
class ReplayStats:
    """What has been taken so far."""

    trips: int = 0
    events: int = 0
    rejected: int = 0
    first: int | None = None
    """Event time of the first event, µs."""


@dataclass(frozen=True)
class Screen:
    """The rows that are trips but cannot be replayed: what comes after them in the stream would suffer."""

    now: datetime
    max_future_skew: timedelta
    longest: timedelta
    """Further apart than this the two times of a trip cannot be put together again."""

    @cached_property
    def limits(self) -> tuple[int, int]:
        """The longest trip and the latest time, in µs as in a row: worked out once, not for each row."""
        return self.longest // timedelta(microseconds=1), microseconds(self.now + self.max_future_skew)

    def reason(self, row: TripRow) -> str | None:
        """Why the row is rejected, or None."""
        pickup, dropoff = row[0], row[1]
        longest, latest = self.limits
        if abs(dropoff - pickup) > longest:
            return f"pickup and drop-off lie more than {_hours(self.longest)} apart"
        if max(pickup, dropoff) > latest:
            return f"dated more than {_hours(self.max_future_skew)} in the future"
        return None

    def rejected(self, row: TripRow, origin: str) -> RejectedRow | None:
        """The row as one that is rejected, or None."""
        if not (reason := self.reason(row)):
            return None
        values = {name: value for name, value in zip(_NAMES, row[2:], strict=True) if value is not None}
        return RejectedRow(origin, row[2], reason, encode_value(values))


def _hours(span: timedelta) -> str:
    return f"{span / timedelta(hours=1):g} h"


def replay(
    trips: Iterable[TripRow | RejectedRow],
    screen: Screen,
    *,
    origin: str,
    limit: int | None = None,
    disorder: Callable[[Iterable[Leg]], Iterable[Leg]] = iter,
    stats: ReplayStats | None = None,
) -> Iterator[Replayed]:
    """The legs of the first `limit` good trips in event-time order, or as `disorder` leaves them.

    Rejected rows come as they are met. The trips taken are counted in `stats`.
    """
    stats = stats or ReplayStats()
    rejected: list[RejectedRow] = []

    def rows() -> Iterator[TripRow]:
        for trip in trips:
            if limit is not None and stats.trips >= limit:
                return
            if isinstance(trip, RejectedRow):
                rejected.append(trip)
            elif refused := screen.rejected(trip, origin):
                rejected.append(refused)
            else:
                stats.trips += 1
                yield trip

    yield from woven(disorder(schedule(rows())), rejected)


def woven(legs: Iterable[Leg], rejected: list[RejectedRow]) -> Iterator[Replayed]:
    """The legs, and between them the rejected rows that have been added meanwhile."""
    for leg in legs:
        if rejected:
            yield from rejected
            rejected.clear()
        yield leg
    yield from rejected


def dead_letters(rows: Iterable[RejectedRow], dlq_topic: str) -> list[Message]:
    """The messages of rejected rows."""
    return [
        dead_letter(dlq_topic, "read", row.reason, key=None, value=row.value, file=row.file, row=row.row)
        for row in rows
    ]
