"""Outages of servers and networks during a run: the results are those of an undisturbed run.

`CHILLFLOW_FAULTS` sets the number of faults (`make chaos`: 60), `CHILLFLOW_OUTAGE_SECONDS` the length of the long
outage (there: 95), `CHILLFLOW_SEED` repeats a failed run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos.results import DISORDER, assert_undisturbed, undisturbed
from tests.chaos.witness import Witness
from tests.pipelines.pipeline import Pipeline, unique_topics
from tests.pipelines.topics import BrokerTopics
from tests.real_trips import rows_of
from tests.servers.kafka import KafkaServer
from tests.servers.kafka_topics import KafkaTopics
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.long

FAULTS = int(os.environ.get("CHILLFLOW_FAULTS", "11"))
SEED = int(os.environ.get("CHILLFLOW_SEED", "1"))
OUTAGE_SECONDS = int(os.environ.get("CHILLFLOW_OUTAGE_SECONDS", "5"))
"""Together with the start of the servers, less than two minutes (the outage limit)."""
SECONDS_A_FAULT = 10
"""More than a fault takes: the replay is slow enough to last for all of them."""


@dataclass(frozen=True)
class World:
    """A pipeline whose servers and network connections can fail."""

    pipeline: Pipeline
    topics: KafkaTopics
    kafka: KafkaServer
    postgres: PostgresServer
    to_kafka: Proxy
    to_postgres: Proxy
    chance: random.Random

    def wait(self) -> None:
        """Wait for as long as a fault lasts."""
        time.sleep(self.chance.uniform(0.2, 3))


@pytest.fixture
def world(own_kafka: KafkaServer, own_postgres: PostgresServer, tmp_path: Path) -> Iterator[World]:
    """Commands reach the servers through proxies, the test reaches them directly."""
    postgres_port = own_kafka._kept_port("postgres-proxy-port")
    topics = KafkaTopics(own_kafka.bootstrap_servers)
    pipeline = Pipeline(
        tmp_path,
        f"127.0.0.1:{own_kafka.proxy_port}",
        own_postgres.url,
        BrokerTopics(topics),
        environment={"DATABASE_URL": own_postgres.url.replace(str(own_postgres.port), str(postgres_port))},
        **unique_topics(),
    )
    with ExitStack() as stack:
        to_kafka = stack.enter_context(Proxy(own_kafka.proxy_port, own_kafka.far_port))
        to_postgres = stack.enter_context(Proxy(postgres_port, own_postgres.port))
        yield World(pipeline, topics, own_kafka, own_postgres, to_kafka, to_postgres, random.Random(SEED))


def broker_killed(world: World) -> None:
    world.kafka.kill()
    world.wait()
    world.kafka.start()


def broker_restarted(world: World) -> None:
    world.kafka.restart()


def broker_frozen(world: World) -> None:
    pid = world.kafka.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    world.wait()
    os.kill(pid, signal.SIGCONT)


def postgres_killed(world: World) -> None:
    world.postgres.kill()
    world.wait()
    world.postgres.start()


def postgres_restarted(world: World) -> None:
    world.postgres.stop()
    world.wait()
    world.postgres.start()


def cable_pulled(world: World) -> None:
    """Cut off both servers at once."""
    world.to_kafka.cut()
    world.to_postgres.cut()
    world.wait()
    world.to_kafka.restore()
    world.to_postgres.restore()


def kafka_connections_severed(world: World) -> None:
    world.to_kafka.sever()
    world.wait()
    world.to_kafka.restore()


def kafka_replies_lost(world: World) -> None:
    world.to_kafka.mute()
    world.wait()
    world.to_kafka.sever()
    world.to_kafka.restore()


def postgres_replies_lost(world: World) -> None:
    world.to_postgres.mute()
    world.wait()
    world.to_postgres.sever()
    world.to_postgres.restore()


def connections_half_closed(world: World) -> None:
    world.to_kafka.half_close()
    world.to_postgres.half_close()


def network_slow(world: World) -> None:
    world.to_kafka.delay = world.to_postgres.delay = 0.1
    world.wait()
    world.to_kafka.restore()
    world.to_postgres.restore()


KINDS: list[Callable[[World], None]] = [
    broker_killed,
    broker_restarted,
    broker_frozen,
    postgres_killed,
    postgres_restarted,
    cable_pulled,
    kafka_connections_severed,
    kafka_replies_lost,
    postgres_replies_lost,
    connections_half_closed,
    network_slow,
]


@pytest.mark.timeout(180 + 20 * FAULTS)
def test_outages_change_no_result(world: World, month_of_trips: Path) -> None:
    pipeline = world.pipeline
    pipeline.run("init-db")
    pipeline.run("create-topic")
    faults = (KINDS * (FAULTS // len(KINDS) + 1))[:FAULTS]
    world.chance.shuffle(faults)
    done: Counter[str] = Counter()
    rate = 5 * rows_of(month_of_trips) // (FAULTS * SECONDS_A_FAULT)
    command = ["produce-from-file", "--file", month_of_trips, "--rate", rate, "--json", *DISORDER]
    with pipeline.start("assemble", "--workers", 2) as assembling:
        assembling.wait_for(lambda: world.topics.exists(pipeline.windows))
        with (
            Witness(world.kafka.bootstrap_servers, [pipeline.complete, pipeline.incomplete]) as witness,
            pipeline.start(*command) as replay,
        ):
            assembling.wait_for(lambda: bool(witness.seen), timeout=60)  # outages at the start are errors
            for fault in faults:
                time.sleep(world.chance.uniform(0.2, 2))
                start = time.monotonic()
                fault(world)
                done[fault.__name__] += 1
                print(f"{fault.__name__}: {time.monotonic() - start:.1f} s")
                witness.assert_saw_nothing_twice()
                assert assembling.process.poll() is None, assembling.stderr.read_text()
                assert replay.process.poll() in (None, 0), replay.stderr.read_text()
            before = witness.count()  # the drain limit is 10 s: wait until the last fault is over
            assembling.wait_for(lambda: witness.count() > before or replay.process.poll() == 0, timeout=60)
            produced = replay.stop()
            assert produced.code == 0, produced.stderr
            account = pipeline.folder / "recovery" / "account.json"
            sent = produced.json["delivered"]
            assembling.wait_for(lambda: json.loads(account.read_text())["events"] == sent, timeout=120)
            stopped = assembling.stop()
        witness.assert_saw_nothing_twice()
    print(dict(done), f"CHILLFLOW_SEED={SEED}")
    assert stopped.code == 0, stopped.stderr
    assert_undisturbed(pipeline, pipeline.assemble(), undisturbed(pipeline))


@pytest.mark.timeout(300 + 3 * OUTAGE_SECONDS)
def test_a_long_outage_of_both_servers_changes_no_result(world: World, month_of_trips: Path) -> None:
    pipeline = world.pipeline
    pipeline.run("init-db")
    pipeline.produce(month_of_trips, "--limit", 40_000, *DISORDER)
    with pipeline.start("assemble", "--workers", 2) as assembling:
        assembling.wait_for(lambda: world.topics.exists(pipeline.windows))
        with Witness(world.kafka.bootstrap_servers, [pipeline.complete, pipeline.incomplete]) as witness:
            assembling.wait_for(lambda: bool(witness.seen), timeout=60)
            start = time.monotonic()
            world.kafka.kill()
            world.postgres.kill()
            time.sleep(OUTAGE_SECONDS)
            before = witness.count()
            world.kafka.start()
            world.postgres.start()
            print(f"both were down for {time.monotonic() - start:.0f} s")
            assembling.wait_for(lambda: witness.count() > before, timeout=60)
            witness.assert_saw_nothing_twice()
            assert assembling.stop().code == 0
    assert_undisturbed(pipeline, pipeline.assemble(), undisturbed(pipeline))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", ["kafka", "postgres"])
def test_an_outage_beyond_the_limit_is_an_error_and_the_next_run_resumes(
    world: World, month_of_trips: Path, server: str
) -> None:
    pipeline = world.pipeline
    down: KafkaServer | PostgresServer = getattr(world, server)
    pipeline.run("init-db")
    pipeline.produce(month_of_trips, *DISORDER)
    with pipeline.start("assemble", CHILLFLOW_OUTAGE_LIMIT="3s") as assembling:
        assembling.wait_for(lambda: world.topics.exists(pipeline.windows))
        with Witness(world.kafka.bootstrap_servers, [pipeline.complete]) as witness:
            assembling.wait_for(lambda: bool(witness.seen), timeout=60)
            down.kill()
            ended = assembling.result(within=60)
    down.start()

    assert ended.code == 1
    assert ended.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in ended.stderr
    assert_undisturbed(pipeline, pipeline.assemble(), undisturbed(pipeline))
