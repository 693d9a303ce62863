"""`key_groups` and `stateful_map` in flows of their own: dead letters, groups, resumed counts and states."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, run_main

from chillflow import operators as cf_op
from chillflow.keyed.batches import Batch, GroupItem
from chillflow.keyed.placement import group_of
from tests.dataflows.conftest import Run
from tests.unit.test_group import visits

Results = list[tuple[str, list[bytes]]]
MINUTE = 60_000


def count_pages(
    schema: bytes,
    log: list[TestingSource.EOF | str],
    results: Results,
    dead: list[tuple[str, list[cf_op.DeadRecord]]],
    decode: Callable[[str], str],
) -> Dataflow:
    logic = visits(schema)
    flow = Dataflow("pages")
    read = op.input("read", flow, TestingSource(log))
    grouped = cf_op.key_groups("group", read, key=str.encode, event_time=lambda visitor: 0, decode=decode, groups=1)
    counted = cf_op.stateful_map(
        "count",
        grouped,
        logic.mapper,
        logic.expire,
        dump=logic.format.dump,
        load=logic.format.load,
        schema=logic.format.pieces.schema,
        adapt=logic.format.pieces.adapt,
    )
    op.output("write", counted.results, TestingSink(results))
    op.output("bury", counted.dead, TestingSink(dead))
    return flow


def test_a_new_field_needs_no_new_recovery_store(tmp_path: Path) -> None:
    init_db_dir(tmp_path, 1)
    store = RecoveryConfig(str(tmp_path))
    log: list[TestingSource.EOF | str] = ["ann", TestingSource.EOF(), "ann", "bob"]
    found: list[bytes] = []
    for schema in (b"closed pages", b"closed pages clicks"):
        results: Results = []
        run_main(count_pages(schema, log, results, [], str), epoch_interval=timedelta(0), recovery_config=store)
        found += [page for _, pages in results for page in pages]
    assert found == [b"0 1", b"0 2 10", b"0 1 0"]


def test_an_item_that_is_no_event_is_a_dead_letter() -> None:
    def named(item: str) -> str:
        if not item.isalpha():
            raise ValueError(f"{item} is no name")
        return item.lower()

    results: Results = []
    dead: list[tuple[str, list[cf_op.DeadRecord]]] = []
    run_main(count_pages(b"closed pages", ["Ann", "7", "ann", "8"], results, dead, named))
    assert [page for _, pages in results for page in pages] == [b"0 1", b"0 2"]
    records = [each for _, some in dead for each in some]
    values: list[object] = [each.record.value for each in records]
    assert values == ["7", "8"], "the items, unchanged"
    assert [(each.record.offset, each.reason) for each in records] == [(1, "7 is no name"), (3, "8 is no name")]


Item = tuple[str, int] | None
"""A name and its event time in minutes; None is no event."""


def decoded(item: Item) -> tuple[str, int]:
    if item is None:
        raise ValueError("nothing")
    return item


def grouped_flow(items: list[Any], groups: int, found: list[tuple[str, GroupItem[Any]]]) -> Dataflow:
    flow = Dataflow("groups")
    read = op.input("read", flow, TestingSource(items, batch_size=3))
    grouped = cf_op.key_groups(
        "group",
        read,
        key=lambda event: event[0].encode(),
        event_time=lambda event: event[1] * MINUTE,
        decode=decoded,
        groups=groups,
        rank=2,
    )
    op.output("write", grouped, TestingSink(found))
    return flow


def rows(found: list[tuple[str, GroupItem[Any]]]) -> list[tuple[Any, ...]]:
    """Offset, key, event and watermark of each record, in the order of the log."""
    batches = [each for _, each in found if isinstance(each, Batch)]
    assert len(batches) == len(found)
    made = [zip(each.records.offsets, each.records.keys, each.events, each.watermarks, strict=True) for each in batches]
    return sorted(row for some in made for row in some)


ITEMS: list[Item] = [("ann", 1), ("bob", 5), None, ("cid", 3), ("ann", 9), ("bob", 2), None, ("ann", 6)]
WATERMARKS = [cf_op.NO_WATERMARK, *(minute * MINUTE for minute in (1, 1, 3, 5, 5, 5, 6))]


@pytest.mark.parametrize("groups", [1, 4])
def test_watermarks_do_not_depend_on_groups_or_batches(run: Run, groups: int) -> None:
    found: list[tuple[str, GroupItem[Any]]] = []
    run(grouped_flow([*ITEMS], groups, found))
    dead = cf_op.Undecodable("nothing")
    assert rows(found) == [
        (at, None if item is None else item[0].encode(), dead if item is None else item, watermark)
        for at, (item, watermark) in enumerate(zip(ITEMS, WATERMARKS, strict=True))
    ]
    for group, each in found:
        assert isinstance(each, Batch)
        assert {f"0000/{group_of(key, groups):04d}" for key in each.records.keys} == {group}


def test_offsets_and_watermarks_go_on_after_a_restart(resume: Run) -> None:
    items: list[Any] = [*ITEMS]
    items.insert(5, TestingSource.EOF())
    first: list[tuple[str, GroupItem[Any]]] = []
    resume(grouped_flow(items, 2, first))
    rest: list[tuple[str, GroupItem[Any]]] = []
    resume(grouped_flow(items, 2, rest))
    offsets_and_watermarks = [(row[0], row[3]) for row in (*rows(first), *rows(rest))]
    assert offsets_and_watermarks == [*enumerate(WATERMARKS)]
