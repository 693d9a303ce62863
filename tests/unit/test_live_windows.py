"""The operator of live windows emits by the clock it is given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from chillflow.assembly.live_windows import live_windows
from chillflow.assembly.windows import Terms, Window
from chillflow.keyed.batches import CLOCK, PartitionProgress
from chillflow.model.measures import MEASURES, Change
from tests.unit.vocabulary import NOW

HOUR = timedelta(hours=1)
CHANGE: Change = (132, NOW, *[1] * len(MEASURES))


@pytest.mark.parametrize(("step", "emitted"), [(0.9, [1, 3, 4]), (1.0, [1, 2, 3, 4])])
def test_a_changing_window_is_emitted_once_a_second(step: float, emitted: list[int]) -> None:
    times = (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=step * number) for number in range(99))
    found: list[tuple[str, list[Window]]] = []
    flow = Dataflow("test")
    changes = op.input("changes", flow, TestingSource([("0000", [CHANGE])] * 4, batch_size=1))
    progress = op.input("progress", flow, TestingSource([(CLOCK, PartitionProgress("0000", NOW, False))]))
    terms = Terms.of([HOUR], timedelta(0), HOUR)
    out = live_windows("windows", changes, progress, terms, clock=lambda: next(times))
    op.output("out", out.windows, TestingSink(found))
    run_main(flow)
    assert [windows[0].changes for _, windows in found] == emitted
