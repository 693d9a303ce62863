"""Batches that cross processes of a cluster arrive as they were sent."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource, cluster_main

from chillflow.keyed.batches import Batch, GroupBatch, GroupItem
from chillflow.model.events import DecodedEvent
from tests.dataflows.vocabulary import batches, in_order, trip
from tests.servers._process import free_port
from tests.unit.vocabulary import batch


def some() -> list[GroupBatch[DecodedEvent]]:
    """Batches for many groups, the last one with a record that is no event."""
    made = batches(in_order(trip(number) for number in range(40)))
    group, last = made[-1]
    assert isinstance(last, Batch)
    return [*made, (group, batch([last.records.record(0)._replace(value=b"hello")])), (group, 7)]


def text(item: GroupItem[DecodedEvent]) -> str:
    """All that an item holds, without the function that has decoded it."""
    return repr((item.records, item.events, item.watermarks, item.read_at) if isinstance(item, Batch) else item)


def run(process: int, addresses: list[str], folder: Path) -> None:
    """One process of the cluster: notes each batch that arrives here. Only one process sends them."""

    def note(state: None, item: GroupItem[DecodedEvent]) -> tuple[None, None]:
        with (folder / f"{process}.txt").open("a") as file:
            file.write(f"{text(item)}\n")
        return None, None

    flow = Dataflow("crossing")
    read = op.input("read", flow, TestingSource(some(), batch_size=5))
    op.inspect("end", op.stateful_map("note", read, note), lambda step_id, item: None)
    cluster_main(flow, addresses, process)


def test_a_batch_arrives_in_another_process_with_equal_events(tmp_path: Path) -> None:
    ports = [free_port()]
    ports.append(free_port(other_than=ports[0]))
    addresses = [f"127.0.0.1:{port}" for port in ports]
    spawn = get_context("spawn")
    processes = [spawn.Process(target=run, args=(number, addresses, tmp_path)) for number in range(2)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(60)
    assert [each.exitcode for each in processes] == [0, 0]
    arrived = [(tmp_path / f"{number}.txt").read_text().splitlines() for number in range(2)]
    assert all(arrived), "each process has groups, and one of them sent nothing"
    assert sorted([*arrived[0], *arrived[1]]) == sorted(text(item) for _, item in some())
