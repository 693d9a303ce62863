"""What is in deploy/: the alert rules do what they say, and nothing asks for a metric that is not there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from chillflow.telemetry.metrics import Metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
RULE_TESTS = yaml.safe_load((DEPLOY / "prometheus/alerts_test.yml").read_text())["tests"]
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/chillflow.json").read_text())
QUERIES = [(panel["title"], target["expr"]) for panel in BOARD["panels"] for target in panel["targets"]]
LABELS = {metric.name: {*metric.labels, "job", "instance"} for metric in Metrics().described}
SERIES = {
    name: metric.name
    for metric in Metrics().described
    for name in (
        [metric.name]
        if metric.kind != "histogram"
        else [f"{metric.name}_bucket", f"{metric.name}_sum", f"{metric.name}_count"]
    )
}


def check(query: str) -> None:
    """Its metrics are there, and have the labels that it names."""
    named = re.findall(r"\b(chillflow_\w+)(?:{([^}]*)})?", query)
    assert named or re.search(r"\b(up|process_\w+){", query), query
    for name, selected in named:
        assert name in SERIES, f"{query}: {name}"
        assert {*re.findall(r"(\w+)=", selected)} <= LABELS[SERIES[name]], query
    known = {label for name, _ in named for label in LABELS[SERIES[name]]} | {"le"}
    for grouped in re.findall(r"\bby \(([^)]*)\)", query):
        assert {label.strip() for label in grouped.split(",")} <= known, query


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=lambda value: value[:40])
def test_each_query_of_the_board_has_its_metric(title: str, query: str) -> None:
    check(query)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_rule_has_its_metric_and_says_what_is_wrong(rule: dict[str, Any]) -> None:
    check(rule["expr"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    known = {label for labels in LABELS.values() for label in labels}
    assert {*re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])} <= known


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_rule_is_seen_to_fire(rule: dict[str, Any]) -> None:
    expected = {
        case["alertname"] for test in RULE_TESTS for case in test.get("alert_rule_test", ()) if case["exp_alerts"]
    }
    asked = " ".join(case["expr"] for test in RULE_TESTS for case in test.get("promql_expr_test", ()))
    assert rule["alert"] in expected or f'alertname="{rule["alert"]}"' in asked


@pytest.mark.parametrize(
    "arguments",
    [
        "check config --syntax-only prometheus.yml",
        "check rules alerts.yml",
        "test rules alerts_test.yml",
    ],
)
def test_promtool_is_content(promtool: str, arguments: str) -> None:
    done = subprocess.run(
        [promtool, *arguments.split()], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_board_is_on_the_data_source_that_is_provisioned() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in BOARD["panels"]} == {source["uid"]}
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
