"""Where the microseconds of an event go, step by step.

It is run outside the test command:

    python -m pytest -o addopts= benchmarks/test_steps.py      (also by make bench)

Rounds are of 20,000 trips, but for `test_start`: a round's time in ms, divided by 100, is µs an event (by 20: µs a
trip).
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

from benchmarks.state import group, rules, some_events
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


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[LogRecord]:
    """A day of trips, in order."""
    return some_events(tmp_path_factory.mktemp("events"))


@pytest.fixture(scope="module")
def records(events: list[LogRecord]) -> list[Record]:
    """The same as a source hands them on."""
    watermarks = WatermarkTracker(20).observe_all([each.timestamp for each in events])
    return [
        Record(watermark, each.offset, each.key, each.value, None, each.timestamp)
        for watermark, each in zip(watermarks, events, strict=True)
    ]


@pytest.fixture(scope="module")
def results(records: list[Record]) -> list[Any]:
    """What they come to."""
    return group().process([records]).results


def timed(benchmark: Any, work: Callable[..., object], prepare: Callable[[], Any] | None = None) -> None:
    """The work, each time on what was prepared anew."""

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (prepare(),) if prepare else (), {}

    benchmark.pedantic(work, setup=setup, rounds=ROUNDS)


def test_source(benchmark: BenchmarkFixture, events: list[LogRecord]) -> None:
    """Stamps and key groups."""

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
    """What `CHILLFLOW_EVENT_TIME=body` costs besides."""
    timed(benchmark, lambda: [body_time(each.value) for each in events])


def test_assemble(benchmark: BenchmarkFixture, records: list[Record]) -> None:
    """A key group whole: decoding, states, results, and finished states put to rest."""
    timed(benchmark, lambda one: one.process([records]), group)


def test_mapper(benchmark: BenchmarkFixture, records: list[Record]) -> None:
    """Of it, the rules alone."""
    decoded = [(each.key, decode_keyed(each.key or b"", each.value), each.watermark) for each in records]
    assembly = rules()

    def work(states: dict[Any, Any]) -> None:
        for key, event, watermark in decoded:
            states[key], _ = assembly.assemble(states.get(key), event, watermark)

    timed(benchmark, work, dict)


def test_snapshot(benchmark: BenchmarkFixture, records: list[Record]) -> None:
    """All trips remembered, as the recovery store gets them."""
    one = group()
    one.process([records])
    timed(benchmark, lambda: pickle.dumps(one.snapshot()))


def test_restore(benchmark: BenchmarkFixture, records: list[Record]) -> None:
    """A group made of its snapshot."""
    one = group()
    one.process([records])
    snapshot = one.snapshot()
    timed(benchmark, lambda: group(snapshot))


def test_encode(benchmark: BenchmarkFixture, results: list[Any]) -> None:
    """Trips as messages."""
    outputs = Outputs(TopicNames.of(Settings()), 1)
    timed(benchmark, lambda: outputs.trips(("0000", results)))


def test_windows(benchmark: BenchmarkFixture, results: list[Any]) -> None:
    """What trips change, spread over units and taken into two windows each."""
    hour = timedelta(hours=1)
    terms = Terms.of([hour / 4, hour], timedelta(0), 24 * hour)

    def work(units: dict[str, WindowShard]) -> None:
        for day, some in spread(change for each in results if (change := change_of(each.trip))).items():
            units.setdefault(day.shard, WindowShard(terms)).add(some)

    timed(benchmark, work, dict)


@pytest.mark.parametrize("command", [["-I", "-c", "pass"], ["-m", "chillflow", "--help"]], ids=["python", "help"])
def test_start(benchmark: BenchmarkFixture, command: list[str]) -> None:
    """A bare interpreter, and `--help`: what a person waits for."""
    timed(benchmark, lambda: subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True))
