"""Streams in disorder: the whole job against the hand-written loop on the same trips in different orders.

    python -m benchmarks --only disorder --orders shuffled-60 --trips 300000 --repeat 1

With `--servers` a running broker is used, and keeps the streams for the next run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import psycopg

from benchmarks.bench import Bench, Outputs, records, trips_in, windows_in
from benchmarks.measuring import Run, Table, spread
from benchmarks.streams import (
    IN_ORDER,
    PARTLY_FOREIGN,
    REPEATED_AND_LOST,
    SHUFFLED,
    SHUFFLED_WIDELY,
    Stream,
    Streams,
)
from chillflow.connectors.log import Log
from chillflow.model.codec import KINDS, decode
from chillflow.model.events import EVENT_CLASSES

__all__ = ["ORDERS", "disorder"]

_NEEDED = frozenset(kind for kind, cls in enumerate(EVENT_CLASSES) if cls.needed)


class Order(NamedTuple):
    """A row of the table."""

    title: str
    stream: Stream
    floor: float
    """The least ratio."""
    goal: float
    postgres: bool = False
    """Whether to compare ChillFlow with and without Postgres, instead of with the loop."""


ORDERS = {
    "in-order": Order("as produced", IN_ORDER, 0.75, 0.9),
    "shuffled-60": Order("shuffled by 60 s", SHUFFLED, 0.55, 0.75),
    "shuffled-3600": Order("shuffled by 3,600 s", SHUFFLED_WIDELY, 0.55, 0.75),
    "repeated-lost": Order("3,600 s, 5 % twice, 1 % lost", REPEATED_AND_LOST, 0.5, 0.7),
    "another-producer": Order("10 % of messages by another producer", PARTLY_FOREIGN, 0.4, 0.6),
    "postgres": Order("60 s, with Postgres / without", SHUFFLED, 0.6, 0.8, postgres=True),
}
"""The orders by their names for `--orders`."""


def disorder(streams: Streams, names: Sequence[str], repeat: int, new_database: Callable[[], str]) -> Table:
    """Run the baseline and ChillFlow in turn on each order, `repeat` times, and compare their outputs.

    `new_database` makes an empty database with our tables and returns its URL.
    """
    rows = []
    for name in names:
        order = ORDERS[name]
        bench = streams.bench(order.stream)
        needed = complete_in(bench.broker.log, bench.topic) if order.stream.loses else None
        pairs = []
        for _ in range(repeat):
            base, expected = bench.ours() if order.postgres else bench.loop(repeats=order.stream.repeats)
            ours, found = _with_postgres(bench, new_database()) if order.postgres else bench.ours()
            _compare(bench, expected, found, needed)
            pairs.append((base, ours))
            print(
                f"  {order.title}: {base.rate:,.0f} and {ours.rate:,.0f} events/s, {ours.rate / base.rate:.2f};"
                f" {base.cpu_us:.1f} and {ours.cpu_us:.1f} µs per event, {base.cpu_us / ours.cpu_us:.2f};"
                f" {ours.memory:,.0f} MB",
                file=sys.stderr,
            )
        rows.append(_row(order, pairs))
    head = ["order of the topic", "events", "baseline, events/s", "ChillFlow, events/s", "ratio", "floor", "goal"]
    head += ["baseline, CPU µs per event", "ChillFlow, CPU µs per event", "memory, MB"]
    note = (
        f"{streams.trips:,} generated trips in 4 partitions; one worker, with recovery (epochs of 2 s), windows and"
        " exactly-once; startup and shutdown included. The baseline is the hand-written loop, which waits for all five"
        " events of a trip, and in the row with Postgres ChillFlow without it. Both run in turn; a ratio compares two"
        " runs of the same round. Every output was compared: trips and windows are the same. With lost events the loop"
        " makes fewer trips than ChillFlow, which needs three events of the five: then all trips of the loop are the"
        " same, ChillFlow has each trip whose three events are in the topic, and windows are not compared. The other"
        " producer writes times with offset -05:00, no `event_id`, columns of its own, and text that is not ASCII."
        " Memory is the highest peak of ChillFlow."
    )
    return Table(head, rows, note)


def complete_in(log: Log, topic: str) -> frozenset[bytes | None]:
    """Keys whose needed events are all in the topic."""
    found: dict[bytes | None, set[int]] = {}
    for record in records(log, topic):
        found.setdefault(record.key, set()).add(KINDS[type(decode(record.value))])
    return frozenset(key for key, kinds in found.items() if kinds >= _NEEDED)


def _with_postgres(bench: Bench, url: str) -> tuple[Run, Outputs]:
    run, outputs = bench.ours(DATABASE_URL=url)
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from stg.complete_trip").fetchone()
    assert row == (bench.trips,), f"{row} trips in Postgres of {bench.trips}"
    return run, outputs


def _compare(bench: Bench, expected: Outputs, found: Outputs, needed: frozenset[bytes | None] | None) -> None:
    """Raise AssertionError if the outputs differ. `needed` has the keys to be found if the loop lacks some of them."""
    trips_of, windows_of = partial(trips_in, bench.broker.log), partial(windows_in, bench.broker.log)
    loop, ours = trips_of(expected[0]), trips_of(found[0])
    assert loop
    assert loop.items() <= ours.items(), f"{bench.topic}: trips differ"
    if needed is not None:
        assert ours.keys() == needed, f"{bench.topic}: {len(ours)} trips of {len(needed)}"
        return
    assert len(loop) == len(ours) == bench.trips, f"{bench.topic}: {len(ours)} trips of {bench.trips}"
    assert windows_of(expected[1]) == windows_of(found[1]), f"{bench.topic}: windows differ"


def _row(order: Order, pairs: Sequence[tuple[Run, Run]]) -> list[str]:
    bases, ours = zip(*pairs, strict=True)
    return [
        order.title,
        f"{ours[0].events:,}",
        spread([run.rate for run in bases], ",.0f"),
        spread([run.rate for run in ours], ",.0f"),
        spread([run.rate / base.rate for base, run in pairs], ".2f"),
        f"{order.floor:.2f}",
        f"{order.goal:.2f}",
        spread([run.cpu_us for run in bases], ".1f"),
        spread([run.cpu_us for run in ours], ".1f"),
        f"{max(run.memory for run in ours):,.0f}",
    ]
