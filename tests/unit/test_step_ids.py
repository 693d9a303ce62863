"""The ids of stateful steps: the recovery store keys state by them, so renaming one would silently lose it."""

from __future__ import annotations

from collections.abc import Iterator

from bytewax.dataflow import Dataflow, Operator
from bytewax.testing import TestingSink, TestingSource

from chillflow.settings import load
from dataflows import assemble, produce

CORE = ("input", "output", "stateful_batch")
"""Bytewax operators that keep state in the recovery store."""


def stateful(step: Dataflow | Operator) -> Iterator[str]:
    """Ids of the stateful steps below this one."""
    for below in step.substeps:
        if type(below).__name__ in CORE:
            yield below.step_id
        else:
            yield from stateful(below)


def ids(flow: Dataflow) -> list[str]:
    return sorted(stateful(flow))


def test_stateful_steps_of_the_assembly() -> None:
    assert ids(assemble.build(TestingSource([]), TestingSink([]), TestingSink([]), TestingSink([]), load(), 4)) == [
        "trip-assembler.assemble_trips.groups",
        "trip-assembler.keep_account.stateful_flat_map.stateful.stateful_batch",
        "trip-assembler.keep_windows.clock",
        "trip-assembler.keep_windows.units",
        "trip-assembler.read_events",
        "trip-assembler.write_account",
        "trip-assembler.write_tables",
        "trip-assembler.write_topics",
    ]


def test_stateful_steps_of_the_production() -> None:
    assert ids(produce.build(TestingSource([]), TestingSink([]), load())) == [
        "trip-event-producer.read_trips",
        "trip-event-producer.write_topics",
    ]
