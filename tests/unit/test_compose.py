"""docker-compose.yml and the Dockerfile are consistent, as far as tests without Docker can tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, cast

import pytest
import typer.core
import typer.main
import yaml

from chillflow import __version__
from chillflow.cli import app
from chillflow.settings import RunArguments, Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MONITORING = {name: service for name, service in SERVICES.items() if service.get("profiles") == ["monitoring"]}
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMMANDS = cast(typer.core.TyperGroup, typer.main.get_command(app))
VARIABLES = {
    str(field.validation_alias or f"CHILLFLOW_{name.upper()}")
    for name, field in (Settings.model_fields | RunArguments.model_fields).items()
}


def conditions(service: str) -> dict[str, str]:
    needs: Mapping[str, Mapping[str, str]] = SERVICES[service].get("depends_on", {})
    return {name: need["condition"] for name, need in needs.items()}


def test_the_services_by_profile() -> None:
    assert set(SERVICES) - set(MONITORING) == {"kafka", "postgres", *OURS}
    assert set(MONITORING) == {"prometheus", "grafana"}
    assert set(OURS) == {"init", "trip-event-producer", "trip-assembler", "dashboard"}


def test_services_wait_for_their_dependencies() -> None:
    ready = {"kafka": "service_healthy", "init": "service_completed_successfully"}
    assert conditions("init") == {"postgres": "service_healthy"}
    assert conditions("trip-event-producer") == conditions("trip-assembler") == ready


@pytest.mark.parametrize("name", SERVICES)
def test_every_dependency_condition_can_become_true(name: str) -> None:
    for needed, condition in conditions(name).items():
        if condition == "service_healthy":
            assert SERVICES[needed]["healthcheck"]["test"][0] == "CMD"
        else:
            assert SERVICES[needed]["restart"] == "no", "a service that restarts never completes"


@pytest.mark.parametrize("name", OURS)
def test_the_command_of_a_service_exists(name: str) -> None:
    command, *arguments = OURS[name]["command"]
    parser = COMMANDS.commands[command]
    parser.make_context(command, arguments).close()
    with pytest.raises(Exception, match="No such option"):
        parser.make_context(command, [*arguments, "--no-such-option"])
    known = {option for parameter in parser.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {argument for argument in arguments if argument.startswith("--")} <= known


@pytest.mark.parametrize("name", OURS)
def test_the_environment_of_a_service_consists_of_settings(name: str) -> None:
    environment = OURS[name]["environment"]
    assert set(environment) <= VARIABLES
    host = environment["KAFKA_BOOTSTRAP_SERVERS"]
    assert f"INTERNAL://{host}" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert "@postgres:5432/" + SERVICES["postgres"]["environment"]["POSTGRES_DB"] in environment["DATABASE_URL"]


def test_the_dashboard_is_local_and_needs_a_token() -> None:
    service = SERVICES["dashboard"]
    assert service["profiles"] == ["dashboard"]
    assert service["ports"] == ["127.0.0.1:8050:8050"]
    assert service["environment"]["CHILLFLOW_DASHBOARD_TOKEN"] == "${CHILLFLOW_DASHBOARD_TOKEN:-}"
    url = service["command"][service["command"].index("--url") + 1]
    assert url == f"http://trip-assembler:{SERVICES['trip-assembler']['environment']['CHILLFLOW_METRICS_PORT']}"
    assert "'.[dashboard]'" in DOCKERFILE


def test_images_are_pinned() -> None:
    assert SERVICES["kafka"]["image"] == "apache/kafka:4.1.0"
    assert SERVICES["postgres"]["image"] == "postgres:17"
    for service in MONITORING.values():
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])
    assert {service["image"] for service in OURS.values()} == {f"chillflow-stream:{__version__}"}


def test_long_running_services_restart() -> None:
    for name in ("kafka", "postgres", "trip-assembler", *MONITORING):
        assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES["trip-event-producer"]["restart"] == "on-failure"


def test_the_recovery_store_is_on_a_volume() -> None:
    (mount,) = SERVICES["trip-assembler"]["volumes"]
    volume, folder = mount.split(":")
    assert volume in COMPOSE["volumes"]
    assert f"CHILLFLOW_RECOVERY_DIR={folder}/" in DOCKERFILE
    assert re.search(rf"--owner=chillflow .*{folder}$", DOCKERFILE, re.MULTILINE)


def test_prometheus_scrapes_the_assembler() -> None:
    environment = SERVICES["trip-assembler"]["environment"]
    (job,) = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    assert target == f"trip-assembler:{environment['CHILLFLOW_METRICS_PORT']}"
    assert environment["CHILLFLOW_METRICS_HOST"] == "0.0.0.0"
    assert SERVICES["trip-assembler"]["healthcheck"]["test"] == ["CMD", "chillflow-stream", "status"]


@pytest.mark.parametrize("name", MONITORING)
def test_monitoring_mounts_existing_files(name: str) -> None:
    for mount in MONITORING[name]["volumes"]:
        source, _, place = mount.partition(":")
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]
        assert place.endswith(":ro") or not source.startswith("./")
    for port in MONITORING[name]["ports"]:
        assert port.startswith("127.0.0.1:")


def test_grafana_finds_the_board() -> None:
    mounts = dict(mount.split(":")[:2] for mount in SERVICES["grafana"]["volumes"])
    (provider,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/chillflow.yml").read_text())[
        "providers"
    ]
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / home.replace(provider["options"]["path"], "deploy/grafana/dashboards")).exists()


def test_the_image_is_slim_pinned_and_not_root() -> None:
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["python:3.12-slim"] * 2
    assert "--constraint constraints.txt" in DOCKERFILE
    last_stage = DOCKERFILE.rpartition("FROM ")[2]
    assert re.findall(r"^USER (\S+)", last_stage, re.MULTILINE) == ["chillflow"]
    assert 'ENTRYPOINT ["chillflow-stream"]' in last_stage


def test_the_image_copies_existing_files_that_are_not_ignored() -> None:
    first_stage = DOCKERFILE.rpartition("FROM ")[0]
    sources = [name for line in re.findall(r"^COPY (.+) \S+$", first_stage, re.MULTILINE) for name in line.split()]
    assert {"chillflow", "dataflows", "stream", "constraints.txt"} <= set(sources)
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    for source in sources:
        assert (ROOT / source).exists(), source
        ignored = False
        for rule in rules:
            if fnmatch(source, rule.lstrip("!")):
                ignored = not rule.startswith("!")
        assert not ignored, source
