"""Micro-benchmarks of the steps of an event.

They are not part of `make test`:

    python -m pytest -o addopts= benchmarks/test_steps.py      (also run by make bench)

A round is 20,000 trips (except in `test_start`), so its time in ms divided by 100 is µs per event, by 20 µs per trip.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, cast

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.state import batch_of, counting_group, group, rules, some_events
from chillflow.assembly.results import Outputs
from chillflow.assembly.windows import Terms, WindowShard, spread
from chillflow.connectors import source
from chillflow.keyed.batches import Batch, Record, RecordColumns
from chillflow.keyed.placement import groups_of
from chillflow.keyed.watermark import WatermarkTracker
from chillflow.model.codec import decode_all
from chillflow.model.events import DecodedEvent
from chillflow.model.measures import change_of
from chillflow.model.structs import as_tuple
from chillflow.model.topics import TopicNames
from chillflow.settings import Settings

ROUNDS = 9


@pytest.fixture(scope="module", params=[0, 60], ids=["in-order", "shuffled"])
def events(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Events of one day of trips, in order and shuffled by a minute."""
    return some_events(tmp_path_factory.mktemp("events"), timedelta(seconds=request.param))


@pytest.fixture(scope="module")
def batch(events: list[Record]) -> Batch[DecodedEvent]:
    """The events as a source emits them."""
    return batch_of(events, watermarks_of(events))


def watermarks_of(events: list[Record]) -> Sequence[int]:
    """The watermark after each event."""
    return WatermarkTracker(20).observe_all([each.timestamp for each in events], [each.key for each in events])


@pytest.fixture(scope="module")
def batches(batch: Batch[DecodedEvent]) -> list[Batch[DecodedEvent]]:
    """The same in batches of the size that a source reads."""
    return [*batch.split([at // source._BATCH for at in range(len(batch))]).values()]


@pytest.fixture(scope="module")
def results(batch: Batch[DecodedEvent]) -> list[Any]:
    """The results of this batch."""
    return group().process([batch]).results


def timed(benchmark: Any, work: Callable[..., object], prepare: Callable[[], Any] | None = None) -> None:
    """Time `work`, each round on a newly prepared argument."""

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (prepare(),) if prepare else (), {}

    benchmark.pedantic(work, setup=setup, rounds=ROUNDS)


def test_source(benchmark: BenchmarkFixture, events: list[Record]) -> None:
    """Watermarks."""
    timed(benchmark, lambda: watermarks_of(events))


@pytest.mark.parametrize("groups", [4, 16])
def test_key_groups(benchmark: BenchmarkFixture, batch: Batch[DecodedEvent], groups: int) -> None:
    """Splitting a batch by key group."""
    timed(benchmark, lambda: batch.split(groups_of(batch.records.keys, groups)))


def test_crossing_as_bytes(benchmark: BenchmarkFixture, batch: Batch[DecodedEvent]) -> None:
    """A batch that crosses processes: its bytes, which are decoded again."""
    timed(benchmark, lambda: pickle.loads(pickle.dumps(batch)))


def test_crossing_as_events(benchmark: BenchmarkFixture, batch: Batch[DecodedEvent]) -> None:
    """The same if the events crossed too, as tuples, from which they are made again."""
    kinds = [*map(type, batch.events)]

    def work() -> object:
        rows = [*map(as_tuple, batch.events)]
        crossed = pickle.loads(pickle.dumps((batch.records, rows, batch.watermarks)))
        return [kind(*row) for kind, row in zip(kinds, crossed[1], strict=True)]

    timed(benchmark, work)


def test_decode(benchmark: BenchmarkFixture, events: list[Record]) -> None:
    """The decoder alone."""
    columns = RecordColumns.of(events)
    timed(benchmark, lambda: decode_all(columns.keys, columns.values))


def test_assemble(benchmark: BenchmarkFixture, batches: list[Batch[DecodedEvent]]) -> None:
    """A whole key group: states, results, and packing closed states."""
    timed(benchmark, lambda one: one.process(batches), group)


def test_count(benchmark: BenchmarkFixture, batches: list[Batch[DecodedEvent]]) -> None:
    """`stateful_map` in general: a key group that counts the events of each key."""
    timed(benchmark, lambda one: one.process(batches), counting_group)


def test_rules(benchmark: BenchmarkFixture, batch: Batch[DecodedEvent]) -> None:
    """The rules alone, without the key group."""
    events = cast("Sequence[DecodedEvent]", batch.events)
    decoded = [*zip(batch.records.keys, events, batch.watermarks, strict=True)]
    assembly = rules()

    def work(states: dict[Any, Any]) -> None:
        for key, event, watermark in decoded:
            states[key], _ = assembly.assemble(states.get(key), event, watermark)

    timed(benchmark, work, dict)


def test_snapshot(benchmark: BenchmarkFixture, batch: Batch[DecodedEvent]) -> None:
    """A snapshot of closed trips, pickled as for the recovery store."""
    one = group()
    one.process([batch])
    timed(benchmark, lambda: pickle.dumps(one.snapshot()))


def test_restore(benchmark: BenchmarkFixture, batch: Batch[DecodedEvent]) -> None:
    """A key group restored from its snapshot."""
    one = group()
    one.process([batch])
    snapshot = one.snapshot()
    timed(benchmark, lambda: group(snapshot))


def test_encode(benchmark: BenchmarkFixture, results: list[Any]) -> None:
    """Encoding trips as messages."""
    outputs = Outputs(TopicNames.of(Settings()), 1)
    timed(benchmark, lambda: outputs.trips(("0000", results)))


def test_windows(benchmark: BenchmarkFixture, results: list[Any]) -> None:
    """Adding the changes of trips to window shards, two windows each."""
    hour = timedelta(hours=1)
    terms = Terms.of([hour / 4, hour], timedelta(0), 24 * hour)

    def work(shards: dict[str, WindowShard]) -> None:
        for day, some in spread(change for each in results if (change := change_of(each.trip))).items():
            shards.setdefault(day.shard, WindowShard(terms)).add(some)

    timed(benchmark, work, dict)


@pytest.mark.parametrize("command", [["-I", "-c", "pass"], ["-m", "chillflow", "--help"]], ids=["python", "help"])
def test_start(benchmark: BenchmarkFixture, command: list[str]) -> None:
    """Startup time of a bare interpreter, and of `--help`."""
    timed(benchmark, lambda: subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True))
