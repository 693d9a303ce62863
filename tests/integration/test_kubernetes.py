"""The manifest of docs/kubernetes.md without Kubernetes: its scripts run as two processes on real servers."""

from __future__ import annotations

import os
import re
import sys
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from chillflow import __version__
from tests.pipelines.command import Running
from tests.pipelines.pipeline import Pipeline
from tests.servers._process import free_port

PAGE = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text()
SERVICE, SET = yaml.safe_load_all(re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0])
POD: dict[str, Any] = SET["spec"]["template"]["spec"]
(INIT,), (MAIN,) = POD["initContainers"], POD["containers"]
NAMES = [f"{SET['metadata']['name']}-{number}" for number in range(SET["spec"]["replicas"])]


def test_the_manifest_is_consistent() -> None:
    name = SET["metadata"]["name"]
    labels = SET["spec"]["template"]["metadata"]["labels"]
    assert SERVICE["metadata"]["name"] == SET["spec"]["serviceName"]
    assert SERVICE["spec"]["selector"] == SET["spec"]["selector"]["matchLabels"] == labels
    port = SERVICE["spec"]["ports"][0]["port"]
    addresses = ";".join(f"{pod}.{name}:{port}" for pod in NAMES)
    assert f'-a "{addresses}"' in MAIN["args"][0]
    assert f"bytewax.recovery $made {len(NAMES)}" in INIT["args"][0]
    (claim,) = SET["spec"]["volumeClaimTemplates"]
    for container in (INIT, MAIN):
        assert container["image"] == f"chillflow-stream:{__version__}"
        assert container["volumeMounts"] == [{"name": claim["metadata"]["name"], "mountPath": "/var/lib/chillflow"}]
    (metrics,) = MAIN["ports"]
    assert {MAIN[probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe")} == {metrics["name"]}
    assert f"$(({metrics['containerPort']} - number))" in MAIN["args"][0]


class Pods:
    """The pods as local processes, each with a folder as its volume and its own ports."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._metrics = [free_port() for _ in NAMES]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._changes = {"PATH": path, **{each["name"]: "127.0.0.1" for each in MAIN["env"]}}

    def _script(self, container: dict[str, Any], number: int, ports: list[int]) -> list[str]:
        text: str = container["args"][0].replace("/var/lib/chillflow", str(self._pipeline.folder / NAMES[number]))
        for pod, port in zip(NAMES, ports, strict=True):
            text = text.replace(f"{pod}.{SERVICE['metadata']['name']}:2101", f"127.0.0.1:{port}")
        return [*container["command"][1:], text.replace("9108", str(self._metrics[number]))]

    def start(self, stack: ExitStack) -> list[Running]:
        ports = [free_port() for _ in NAMES]
        pods = []
        for number, name in enumerate(NAMES):
            (self._pipeline.folder / name).mkdir(exist_ok=True)
            surroundings: dict[str, Any] = {**self._changes, "HOSTNAME": name}
            self._pipeline.python(INIT["command"][0], *self._script(INIT, number, ports), **surroundings)
            script = self._script(MAIN, number, ports)
            pods.append(stack.enter_context(self._pipeline.start(*script, program=MAIN["command"][0], **surroundings)))
        return pods

    def are_ready(self) -> bool:
        """Whether every pod passes its readiness probe."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        path = MAIN["readinessProbe"]["httpGet"]["path"]
        with suppress(OSError):
            for port in self._metrics:
                opener.open(f"http://127.0.0.1:{port}{path}", timeout=5).close()
            return True
        return False


@pytest.mark.timeout(400)
def test_pods_recover_after_one_is_killed_and_stop_together(on_servers: Pipeline, trips_file: Path) -> None:
    on_servers.run("init-db")
    on_servers.produce(trips_file, "--limit", 100)
    pods = Pods(on_servers)

    with ExitStack() as stack:
        first, second = pods.start(stack)
        first.wait_for(lambda: on_servers.rows() == 100, timeout=90)
        first.wait_for(pods.are_ready, timeout=60)
        second.process.kill()
        assert first.result(within=60).code == 1

    on_servers.produce(trips_file)
    with ExitStack() as stack:
        both = pods.start(stack)
        both[0].wait_for(lambda: on_servers.rows() == 300, timeout=90)
        both[0].wait_for(pods.are_ready, timeout=60)
        for pod in both:
            pod.process.terminate()
        assert [pod.result(within=POD["terminationGracePeriodSeconds"]).code for pod in both] == [0, 0]

    assert sorted(path.name for name in NAMES for path in (on_servers.folder / name).glob("part-*.sqlite3")) == [
        "part-0.sqlite3",
        "part-1.sqlite3",
    ]
    keys = [trip["trip_key"] for trip in on_servers.trips()]
    assert len(keys) == len(set(keys)) == 300
