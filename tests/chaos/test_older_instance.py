"""Fencing: an instance is suspended, a successor takes over, and the instance resumes."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.chaos.processes import family
from tests.chaos.results import DISORDER, assert_undisturbed, undisturbed
from tests.chaos.witness import Witness
from tests.pipelines.command import Running
from tests.pipelines.pipeline import Pipeline
from tests.servers.kafka_topics import KafkaTopics

pytestmark = pytest.mark.long

SUCCESSORS = 3


@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [1, 2])
def test_an_older_instance_writes_nothing_more(on_servers: Pipeline, month_of_trips: Path, workers: int) -> None:
    """The successor resumes from a copy of the recovery store, because the lock on the directory would refuse it."""
    pipeline = on_servers
    pipeline.run("init-db")
    pipeline.run("create-topic")
    with ExitStack() as stack:
        start = stack.enter_context

        def assembling(number: int) -> Running:
            store = str(pipeline.folder / f"recovery-{number}")
            return start(pipeline.start("assemble", "--workers", workers, CHILLFLOW_RECOVERY_DIR=store))

        older = assembling(0)
        older.wait_for(lambda: KafkaTopics(pipeline.address).exists(pipeline.windows), timeout=60)
        witness = start(Witness(pipeline.address, [pipeline.complete, pipeline.incomplete]))
        replay = start(pipeline.start("produce-from-file", "--file", month_of_trips, "--rate", 1500, *DISORDER))

        def writes(instance: Running) -> None:
            """Wait until the instance, the only one running, has written to all partitions."""
            time.sleep(1)  # lets the witness read what other instances wrote
            before = witness.messages.copy()
            topic = pipeline.complete
            instance.wait_for(lambda: all(witness.messages[topic, n] > before[topic, n] for n in range(4)), timeout=60)

        writes(older)
        for number in range(SUCCESSORS):
            _send_to_all(older, signal.SIGSTOP)
            shutil.copytree(pipeline.folder / f"recovery-{number}", pipeline.folder / f"recovery-{number + 1}")
            successor = assembling(number + 1)
            writes(successor)
            _send_to_all(older, signal.SIGCONT)

            ended = older.result(within=60)
            assert ended.code == 1
            *others, line = ended.stderr.splitlines()
            assert line.startswith("error: ")
            assert line.endswith("another instance has taken over this pipeline's output; this one stops")
            assert workers > 1 or all("Postgres is " in each for each in others)  # both write to the same rows
            older = successor
        replay.process.kill()
        replay.process.wait()
        witness.assert_saw_nothing_twice()
        assert older.stop(within=60).code == 0
    last = str(pipeline.folder / f"recovery-{SUCCESSORS}")
    assert_undisturbed(pipeline, pipeline.assemble(CHILLFLOW_RECOVERY_DIR=last), undisturbed(pipeline))


def _send_to_all(running: Running, what: signal.Signals) -> None:
    for process in family(running.process.pid):
        with suppress(ProcessLookupError):
            os.kill(process, what)
