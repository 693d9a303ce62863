"""CPU time of one event by step: the real dataflow in this process, with a stopwatch around its steps.

    python -m benchmarks --only budget

A step excludes the time of the steps it calls, so the figures add up. They are CPU time of the thread that runs the
flow: reading from the broker, compression and sending run in threads of their own.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import ParamSpec, TypeVar
from unittest.mock import patch

from bytewax.recovery import RecoveryConfig, init_db_dir

from benchmarks.measuring import Table
from benchmarks.pipeline import EPOCH, Bench
from chillflow.assembly import live_windows
from chillflow.assembly.results import Outputs
from chillflow.connectors import sink, source
from chillflow.connectors.kafka import KafkaReader, KafkaWriter
from chillflow.keyed import stateful_map
from chillflow.running import runner
from chillflow.running.process_tuning import tuned_process
from chillflow.running.run import Run
from chillflow.settings import load
from dataflows.assemble import from_settings

P = ParamSpec("P")
T = TypeVar("T")
STEPS: dict[str, list[tuple[object, str]]] = {
    "read: `consume`, its columns": [(KafkaReader, "columns")],
    "watermarks": [(source._SourcePartition, "next_batch"), (source._SourcePartition, "snapshot")],
    "decode, assemble, pack": [(stateful_map._Group, "on_batch")],
    "encode trips": [(Outputs, "trips")],
    "windows": [
        (Outputs, "changes"),
        (live_windows, "spread"),
        (live_windows._ShardLogic, "on_batch"),
        (live_windows._ShardLogic, "on_notify"),
        (live_windows._ClockLogic, "on_batch"),
    ],
    "encode windows": [(Outputs, "windows"), (Outputs, "window_messages")],
    "send, commit": [
        (sink._ExactlyOncePartition, "write_batch"),
        (sink._ExactlyOncePartition, "snapshot"),
        (KafkaWriter, "send_all"),
    ],
    "snapshots": [
        (stateful_map._Group, "snapshot"),
        (live_windows._ShardLogic, "snapshot"),
        (live_windows._ClockLogic, "snapshot"),
    ],
}
REST = "Bytewax: channels, pickles, SQLite"


def budget(bench: Bench) -> Table:
    """Measure one run in this process."""
    trips, windows = bench.outputs()
    folder = bench.folder / f"recovery-{trips}"
    folder.mkdir()
    init_db_dir(folder, 1)
    settings = load(
        kafka_bootstrap_servers=bench.servers,
        topic=bench.topic,
        complete_topic=trips,
        incomplete_topic=f"{trips}-incomplete",
        windows_topic=windows,
    ).model_copy(update={"database_url": None})
    spent: defaultdict[str, float] = defaultdict(float)
    with tuned_process(), stopwatches(spent):
        start, cpu = time.thread_time(), time.process_time()
        run = Run(exit_at_end=True)
        runner.run_flow(
            from_settings(settings, run),
            epoch_interval=timedelta(seconds=EPOCH),
            drain=run.drain,
            recovery=RecoveryConfig(str(folder), timedelta(0)),
        )
        thread, process = time.thread_time() - start, time.process_time() - cpu
    spent[REST] = thread - sum(spent.values())
    spent["**flow thread, total**"] = thread
    spent["other threads: librdkafka, committers"] = process - thread
    rows = [[step, f"{seconds / bench.events * 1e6:.2f}"] for step, seconds in spent.items()]
    return Table("CPU time of one event by step", ["", "CPU µs per event"], rows)


@contextmanager
def stopwatches(spent: defaultdict[str, float]) -> Iterator[None]:
    """Add the CPU seconds of each step to `spent` while the body runs."""
    inner: list[float] = []
    """Stack with an entry per running step: CPU seconds of the steps it called."""

    def timed(step: str, function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def run(*arguments: P.args, **named: P.kwargs) -> T:
            start = time.thread_time()
            inner.append(0.0)
            try:
                return function(*arguments, **named)
            finally:
                taken = time.thread_time() - start
                spent[step] += taken - inner.pop()
                if inner:
                    inner[-1] += taken

        return run

    patches = [
        patch.object(owner, name, timed(step, getattr(owner, name)))
        for step, methods in STEPS.items()
        for owner, name in methods
    ]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()
