"""SIGKILL and SIGSTOP at random moments: the results are those of an undisturbed run.

`CHILLFLOW_KILLS` sets the number of kills (`make chaos`: 100), `CHILLFLOW_SEED` repeats a failed run.
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pytest

from chillflow.assembly.account import difference, read_account
from chillflow.running.recovery import ACCOUNT_FILE
from tests.chaos.processes import family
from tests.chaos.results import DISORDER, assert_undisturbed, undisturbed
from tests.chaos.witness import AnyWitness, FileWitness, Witness
from tests.pipelines.pipeline import Pipeline
from tests.real_trips import is_long, rows_of

KILLS = int(os.environ.get("CHILLFLOW_KILLS") or (10 if is_long() else 3))
SEED = int(os.environ.get("CHILLFLOW_SEED", "1"))
SECONDS_A_KILL = 20
"""More than a start and a kill take: the replay is slow enough to last for all of them."""
RATE = 1500
"""At most, in events per second."""


@dataclass
class Toll:
    """The cost of the kills."""

    kills: int = 0
    frozen: int = 0
    starts: int = 0
    recovered: list[float] = field(default_factory=list)
    """Seconds from a start to the first new result."""
    lost: float = 0.0
    """Seconds from kills to the first new results, in total."""
    last_kill: float | None = None

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.frozen} frozen for a while, {self.starts} starts; from start to first new"
            f" result {median(self.recovered):.1f} s (p50), {max(self.recovered):.1f} s (most); {self.lost:.0f} s lost"
        )


@pytest.mark.scaled
@pytest.mark.timeout(180 + 30 * KILLS)
def test_killed_workers_write_everything_once(pipeline: Pipeline, month_of_trips: Path) -> None:
    print(f"CHILLFLOW_SEED={SEED} CHILLFLOW_KILLS={KILLS}")
    chance, toll = random.Random(SEED), Toll()
    rate = min(RATE, 5 * rows_of(month_of_trips) // (KILLS * SECONDS_A_KILL))
    pipeline.run("init-db")
    pipeline.run("create-topic")
    pipeline.assemble()  # creates the result topics
    with ExitStack() as stack:
        witness = _witness(pipeline)
        stack.enter_context(witness)
        command = ["produce-from-file", "--file", month_of_trips, "--rate", rate, *DISORDER]
        replay = stack.enter_context(pipeline.start(*command))
        for _ in range(KILLS):
            _start_and_kill(pipeline, witness, chance, toll)
            witness.assert_saw_nothing_twice()
            assert difference(read_account(pipeline.folder / "recovery" / ACCOUNT_FILE)) == 0
            assert replay.process.poll() is None, replay.stderr.read_text()
        replay.process.kill()
        replay.process.wait()
        summary = pipeline.assemble()
        witness.assert_saw_nothing_twice()
    print(toll)
    assert_undisturbed(pipeline, summary, undisturbed(pipeline))
    assert summary["complete_trips"] > 10 * KILLS


def _witness(pipeline: Pipeline) -> AnyWitness:
    topics = [pipeline.complete, pipeline.incomplete]
    if pipeline.embedded:
        return FileWitness(Path(pipeline.address.removeprefix("file:")), topics)
    return Witness(pipeline.address, topics)


def _start_and_kill(pipeline: Pipeline, witness: AnyWitness, chance: random.Random, toll: Toll) -> None:
    """Start the assembly and kill any of its processes: during the start, or after its first result."""
    toll.starts += 1
    started = time.monotonic()
    with pipeline.start("assemble", "--workers", chance.choice((1, 1, 2))) as running:
        if chance.random() < 0.25:
            time.sleep(chance.uniform(0.2, 2.5))
        else:
            time.sleep(0.3)  # lets the witness read what the previous run wrote
            before = witness.count()
            running.wait_for(lambda: witness.count() > before, timeout=60)
            toll.recovered.append(time.monotonic() - started)
            toll.lost += time.monotonic() - (toll.last_kill or time.monotonic())
            toll.last_kill = None
            time.sleep(chance.uniform(0, 1.5))
            if chance.random() < 0.3:
                toll.frozen += 1
                _freeze(chance.choice(family(running.process.pid)), chance.uniform(0.2, 2))
                time.sleep(chance.uniform(0, 0.5))
        os.kill(chance.choice(family(running.process.pid)), signal.SIGKILL)
        toll.kills += 1
        toll.last_kill = toll.last_kill or time.monotonic()
        ended = running.result()
    assert ended.code in (1, -signal.SIGKILL), ended.stderr  # in a cluster, the other processes are stopped
    assert "Traceback" not in ended.stderr


def _freeze(process: int, seconds: float) -> None:
    os.kill(process, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(process, signal.SIGCONT)
