"""The steps under whose names the recovery store keeps state: renaming one would lose it without a word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource

from chillflow.settings import load
from dataflows import assemble, produce

CORE = ("input", "output", "stateful_batch")
"""Bytewax's operators that keep something between epochs."""


def keeping(step: Any) -> Iterator[str]:
    """The ids of the steps below this one that keep something."""
    for below in step.substeps:
        if type(below).__name__ in CORE:
            yield below.step_id
        else:
            yield from keeping(below)


def ids(flow: Dataflow) -> list[str]:
    return sorted(keeping(flow))


def test_steps_of_the_assembly() -> None:
    topics, table, accounts = (TestingSink[Any]([]) for _ in range(3))
    assert ids(assemble.build(TestingSource([]), topics, table, accounts, load(), 4)) == [
        "trip-assembler.assemble_trips.groups",
        "trip-assembler.keep_account.stateful_flat_map.stateful.stateful_batch",
        "trip-assembler.keep_windows.clock",
        "trip-assembler.keep_windows.units",
        "trip-assembler.read_events",
        "trip-assembler.write_account",
        "trip-assembler.write_tables",
        "trip-assembler.write_topics",
    ]


def test_steps_of_the_production() -> None:
    assert ids(produce.build(TestingSource([]), TestingSink([]), load())) == [
        "trip-event-producer.read_trips",
        "trip-event-producer.write_topics",
    ]
