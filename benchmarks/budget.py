"""CPU time of one event by step: the real dataflow in this process, with a stopwatch around its steps.

    python -m benchmarks --only budget

A step excludes the time of the steps it calls, so the figures add up. They are CPU time of the thread that runs the
flow: reading from the broker, compression and sending run in threads of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from pkgutil import resolve_name
from typing import ParamSpec, TypeVar
from unittest.mock import patch

from bytewax.recovery import RecoveryConfig, init_db_dir

from benchmarks.bench import EPOCH, Bench
from benchmarks.measuring import Table
from chillflow.running import runner
from chillflow.running.process_tuning import tuned_process
from chillflow.running.run import Run
from chillflow.settings import load
from dataflows.assemble import from_settings

P = ParamSpec("P")
T = TypeVar("T")
STEPS: dict[str, list[str]] = {
    "read: `consume`, its columns": ["chillflow.connectors.kafka:KafkaReader.columns"],
    "watermarks": [
        "chillflow.connectors.source:_SourcePartition.next_batch",
        "chillflow.connectors.source:_SourcePartition.snapshot",
    ],
    "decode": ["chillflow.connectors.source:decode_all"],
    "assemble, pack": ["chillflow.keyed.stateful_map:_Group.on_batch"],
    "encode trips": ["chillflow.assembly.results:Outputs.trips"],
    "windows": [
        "chillflow.assembly.results:Outputs.changes",
        "chillflow.assembly.live_windows:spread",
        "chillflow.assembly.live_windows:_ShardLogic.on_batch",
        "chillflow.assembly.live_windows:_ShardLogic.on_notify",
        "chillflow.assembly.live_windows:_ClockLogic.on_batch",
    ],
    "encode windows": [
        "chillflow.assembly.results:Outputs.windows",
        "chillflow.assembly.results:Outputs.window_messages",
    ],
    "send, commit": [
        "chillflow.connectors.sink:_ExactlyOncePartition.write_batch",
        "chillflow.connectors.sink:_ExactlyOncePartition.snapshot",
        "chillflow.connectors.kafka:KafkaWriter.send_all",
    ],
    "snapshots": [
        "chillflow.keyed.stateful_map:_Group.snapshot",
        "chillflow.assembly.live_windows:_ShardLogic.snapshot",
        "chillflow.assembly.live_windows:_ClockLogic.snapshot",
    ],
}
"""Functions by step, as `module:name`. They are replaced where they are looked up, so a function imported by name is
listed under the module that calls it."""
REST = "Bytewax: channels, pickles, SQLite"
TOTAL, THREADS = "**flow thread, total**", "other threads: librdkafka, committers"


def budget(benches: Mapping[str, Bench]) -> Table:
    """Measure one run on each topic, in this process; a column for each."""
    columns = [_costs(bench) for bench in benches.values()]
    rows = [[step, *(f"{costs[step]:.2f}" for costs in columns)] for step in [*STEPS, REST, TOTAL, THREADS]]
    return Table(["CPU µs per event", *benches], rows)


def _costs(bench: Bench) -> dict[str, float]:
    """CPU µs per event by step."""
    trips, windows = bench.outputs()
    folder = bench.broker.folder / f"recovery-{trips}"
    folder.mkdir()
    init_db_dir(folder, 1)
    settings = load(
        kafka_bootstrap_servers=bench.broker.servers,
        topic=bench.topic,
        complete_topic=trips,
        incomplete_topic=f"{trips}-incomplete",
        windows_topic=windows,
    ).model_copy(update={"database_url": None})
    spent = dict.fromkeys(STEPS, 0.0)
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
    spent |= {REST: thread - sum(spent.values()), TOTAL: thread, THREADS: process - thread}
    return {step: seconds / bench.events * 1e6 for step, seconds in spent.items()}


def functions() -> Iterator[tuple[str, object, str]]:
    """Step, owner and name of each function in STEPS. Raises AttributeError or ImportError if there is none."""
    for step, paths in STEPS.items():
        for path in paths:
            owner, _, name = path.rpartition("." if "." in path.partition(":")[2] else ":")
            yield step, resolve_name(owner), name


@contextmanager
def stopwatches(spent: dict[str, float]) -> Iterator[None]:
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

    patches = [patch.object(owner, name, timed(step, getattr(owner, name))) for step, owner, name in functions()]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()
