"""The commands and environments of docker-compose.yml, run on real servers without Docker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.pipelines.command import COMMAND
from tests.pipelines.pipeline import Changes, Pipeline
from tests.pipelines.topics import BrokerTopics
from tests.servers.kafka import KafkaServer
from tests.servers.kafka_topics import KafkaTopics

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
IN_IMAGE = dict(re.findall(r"(CHILLFLOW_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))


class Containers:
    """Commands and environments of the services, with addresses and folders of the test."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._here = {
            "kafka:19092": pipeline.address,
            "postgresql://chillflow:chillflow@postgres:5432/chillflow": pipeline.database,
            "/var/lib/chillflow": str(pipeline.folder / "volume"),
            "/data": str(pipeline.folder),
            "9108": "0",  # any free port: several tests may run at once
        }
        assert [*SERVICES["trip-assembler"]["volumes"]] == ["recovery:/var/lib/chillflow"]

    def environment(self, service: str) -> Changes:
        """The environment of the service and of the image, without the test's own settings."""
        given = {**IN_IMAGE, **SERVICES[service]["environment"]}
        ours = dict.fromkeys(name for name in self._pipeline.environment if name.startswith("CHILLFLOW_"))
        return {**ours, **{name: self._placed(_default(value)) for name, value in given.items()}}

    def command(self, service: str) -> list[str]:
        return [self._placed(word) for word in SERVICES[service]["command"]]

    def probe(self, service: str) -> tuple[str, ...]:
        """The arguments of the service's healthcheck."""
        kind, program, *arguments = SERVICES[service]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", COMMAND.name)
        return tuple(arguments)

    def _placed(self, text: str) -> str:
        for there, here in self._here.items():
            text = text.replace(there, here)
        return text


def _default(value: str) -> str:
    """A Compose value with the defaults of its unset variables."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_the_containers_run_the_pipeline(
    own_kafka: KafkaServer, database_url: str, tmp_path: Path, trips_file: Path
) -> None:
    pipeline = Pipeline(
        tmp_path, own_kafka.bootstrap_servers, database_url, BrokerTopics(KafkaTopics(own_kafka.bootstrap_servers))
    )
    containers = Containers(pipeline)

    def run(service: str, *arguments: object) -> None:
        pipeline.run(*(arguments or containers.command(service)), **containers.environment(service))

    run("init")
    run("init", "load-trips", "--file", trips_file)  # as docs/operations.md says
    run("trip-event-producer")
    assembler = containers.environment("trip-assembler")
    with pipeline.start(*containers.command("trip-assembler"), **assembler) as assembling:
        assembling.wait_for(
            lambda: pipeline.query("select count(*) from stg.complete_trip where revision > 0") == [(300,)]
        )
        assembling.wait_for(lambda: pipeline.run(*containers.probe("trip-assembler"), code=None, **assembler).code == 0)
        run("trip-event-producer")  # again, as after a restart or another `up`
        assembling.wait_for(lambda: len(pipeline.events()) == 3000)
        stopped = assembling.stop()

    grace = int(SERVICES["trip-assembler"]["stop_grace_period"].removesuffix("s"))
    assert grace >= 20, "time for `stop` to finish the epoch"
    assert stopped.code == 0
    assert (tmp_path / "volume" / "recovery" / "account.json").exists()
    assert len(pipeline.trips()) == 300
    assert pipeline.run(*containers.probe("trip-assembler"), code=1, **assembler).stdout == ""
