"""Key groups run on the workers that read their partitions."""

from __future__ import annotations

import threading
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.testing import TestingSink, cluster_main

from chillflow.keyed.placement import partition_name, placed


class Reading(FixedPartitionedSource[Any, None]):
    """Twelve partitions, each of which sends the id of its thread to one group."""

    def list_parts(self) -> list[str]:
        return [partition_name(number) for number in range(12)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Any:
        class Part(StatefulSourcePartition[Any, None]):
            left = 1

            def next_batch(self) -> list[Any]:
                if not self.left:
                    raise StopIteration
                self.left = 0
                return [(placed(f"{for_part}/0000", int(for_part)), threading.get_ident())]

            def snapshot(self) -> None:
                return None

        return Part()


class Group(StatefulBatchLogic[int, bool, None]):
    """Whether the group runs on the thread that read the partition."""

    def on_batch(self, values: list[int]) -> tuple[list[bool], bool]:
        return [value == threading.get_ident() for value in values], True

    def snapshot(self) -> None:
        return None


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_a_group_is_on_the_worker_that_reads_its_partition(workers: int) -> None:
    found: list[Any] = []
    flow = Dataflow("placed")
    read = op.input("read", flow, Reading())
    op.output("write", op.stateful_batch("group", read, lambda resume: Group()), TestingSink(found))
    cluster_main(flow, [], 0, worker_count_per_proc=workers)
    assert [is_same for _, is_same in found] == [True] * 12


def test_names_do_not_change() -> None:
    # Recovery stores hold them.
    names = [placed(f"{number:04d}/0000", number) for number in range(4)]
    assert names == ["0000/0000.7", "0001/0000.28", "0002/0000.12", "0003/0000.25"]
