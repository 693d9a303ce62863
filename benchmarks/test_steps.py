"""Micro-benchmarks of the steps of an event.

They are not part of `make test`:

    python -m pytest -o addopts= benchmarks/test_steps.py      (also run by make bench)

A round is 20,000 trips (except in `test_start`), so its time in ms divided by 100 is µs per event, by 20 µs per trip.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.state import counting_group, group, rules, some_events
from chillflow.assembly.results import Outputs
from chillflow.assembly.windows import Terms, WindowShard, spread
from chillflow.connectors.inspection import body_time
from chillflow.connectors.log import LogRecord
from chillflow.keyed.batches import Record
from chillflow.keyed.placement import group_of
from chillflow.keyed.watermark import WatermarkTracker
from chillflow.model.codec import decode_keyed
from chillflow.model.measures import change_of
from chillflow.model.topics import TopicNames
from chillflow.settings import Settings

ROUNDS = 9


@pytest.fixture(scope="module", params=[0, 60], ids=["in-order", "shuffled"])
def events(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[LogRecord]:
    """Events of one day of trips, in order and shuffled by a minute."""
    return some_events(tmp_path_factory.mktemp("events"), timedelta(seconds=request.param))


@pytest.fixture(scope="module")
def records(events: list[LogRecord]) -> list[Record]:
    """The events as records, as a source emits them."""
    watermarks = WatermarkTracker(20).observe_all([each.timestamp for each in events])
    return [
        Record(watermark, each.offset, each.key, each.value, None, each.timestamp)
        for watermark, each in zip(watermarks, events, strict=True)
    ]


@pytest.fixture(scope="module")
def results(records: list[Record]) -> list[Any]:
    """The results of these records."""
    return group().process([records]).results


def timed(benchmark: Any, work: Callable[..., object], prepare: Callable[[], Any] | None = None) -> None:
    """Time `work`, each round on a newly prepared argument."""

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (prepare(),) if prepare else (), {}

    benchmark.pedantic(work, setup=setup, rounds=ROUNDS)


def test_source(benchmark: BenchmarkFixture, events: list[LogRecord]) -> None:
    """Watermarks and key groups."""

    def work() -> object:
        watermarks = WatermarkTracker(20).observe_all([each[1] for each in events])
        return [(watermark, group_of(each[2], 16)) for watermark, each in zip(watermarks, events, strict=True)]

    timed(benchmark, work)


def test_decode(benchmark: BenchmarkFixture, events: list[LogRecord]) -> None:
    """The decoder alone."""

    def work() -> None:
        for each in events:
            decode_keyed(each.key or b"", each.value)

    timed(benchmark, work)


def test_event_time_of_the_body(benchmark: BenchmarkFixture, events: list[LogRecord]) -> None:
    """Additional cost of `CHILLFLOW_EVENT_TIME=body`."""
    timed(benchmark, lambda: [body_time(each.value) for each in events])


def test_assemble(benchmark: BenchmarkFixture, records: list[Record]) -> None:
    """A whole key group: decoding, states, results, and packing closed states."""
    timed(benchmark, lambda one: one.process([records]), group)


def test_count(benchmark: BenchmarkFixture, records: list[Record]) -> None:
    """`stateful_map` in general: a key group that counts the messages of each key, without decoding them."""
    timed(benchmark, lambda one: one.process([records]), counting_group)


def test_rules(benchmark: BenchmarkFixture, records: list[Record]) -> None:
    """The rules alone, without the key group."""
    decoded = [(each.key, decode_keyed(each.key or b"", each.value), each.watermark) for each in records]
    assembly = rules()

    def work(states: dict[Any, Any]) -> None:
        for key, event, watermark in decoded:
            states[key], _ = assembly.assemble(states.get(key), event, watermark)

    timed(benchmark, work, dict)


def test_snapshot(benchmark: BenchmarkFixture, records: list[Record]) -> None:
    """A snapshot of closed trips, pickled as for the recovery store."""
    one = group()
    one.process([records])
    timed(benchmark, lambda: pickle.dumps(one.snapshot()))


def test_restore(benchmark: BenchmarkFixture, records: list[Record]) -> None:
    """A key group restored from its snapshot."""
    one = group()
    one.process([records])
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
