"""`stateful_map` resumes states that were written under another schema."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, run_main

from chillflow import operators as cf_op
from tests.unit.test_group import visits

Results = list[tuple[str, list[bytes]]]


def count_pages(schema: bytes, log: list[TestingSource.EOF | bytes], results: Results) -> Dataflow:
    logic = visits(schema)
    flow = Dataflow("pages")
    read = op.input("read", flow, TestingSource(log))
    grouped = cf_op.key_groups("group", read, key=lambda visitor: visitor, event_time=lambda visitor: 0, groups=1)
    counted = cf_op.stateful_map(
        "count",
        grouped,
        logic.mapper,
        logic.expire,
        decode=logic.decode,
        dump=logic.dump,
        load=logic.load,
        schema=logic.schema,
        adapt=logic.adapt,
    )
    op.output("write", counted.results, TestingSink(results))
    return flow


def test_a_new_field_needs_no_new_recovery_store(tmp_path: Path) -> None:
    init_db_dir(tmp_path, 1)
    store = RecoveryConfig(str(tmp_path))
    log: list[TestingSource.EOF | bytes] = [b"ann", TestingSource.EOF(), b"ann", b"bob"]
    found: list[bytes] = []
    for schema in (b"closed pages", b"closed pages clicks"):
        results: Results = []
        run_main(count_pages(schema, log, results), epoch_interval=timedelta(0), recovery_config=store)
        found += [page for _, pages in results for page in pages]
    assert found == [b"0 1", b"0 2 10", b"0 1 0"]
