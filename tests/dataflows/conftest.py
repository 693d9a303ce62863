"""Every flow is run as Bytewax's own tests do: on one worker, and on several."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main

Run: TypeAlias = Callable[[Dataflow], None]


@pytest.fixture(params=["run_main", "1 thread", "2 threads", "3 threads"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a flow to its end."""
    if request.param == "run_main":
        return lambda flow: run_main(flow, epoch_interval=timedelta(0))
    threads = int(request.param[0])
    return lambda flow: cluster_main(flow, [], 0, epoch_interval=timedelta(0), worker_count_per_proc=threads)


@pytest.fixture
def resume(tmp_path: Path) -> Run:
    """Runs a flow, going on where the last one in this test stopped."""
    store = tmp_path / "store"
    store.mkdir()
    init_db_dir(store, 1)
    recovery: Any = RecoveryConfig(str(store), timedelta(0))
    return lambda flow: run_main(flow, epoch_interval=timedelta(0), recovery_config=recovery)
