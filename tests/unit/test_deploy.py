"""deploy/: alert rules fire, and queries use only metrics and labels that exist."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TypedDict

import pytest
import yaml

from chillflow.telemetry.late_share import LIMIT
from chillflow.telemetry.metrics import Metrics

DEPLOY = Path(__file__).parents[2] / "deploy"


class Rule(TypedDict):
    """An alert rule of Prometheus."""

    alert: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]


RULES: list[Rule] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
RULE_TESTS = yaml.safe_load((DEPLOY / "prometheus/alerts_test.yml").read_text())["tests"]
BOARD = json.loads((DEPLOY / "grafana/dashboards/chillflow.json").read_text())
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
    """Assert that the metrics of a query exist and have the labels it uses."""
    named = re.findall(r"\b(chillflow_\w+)(?:{([^}]*)})?", query)
    assert named or re.search(r"\b(up|process_\w+){", query), query
    for name, selected in named:
        assert name in SERIES, f"{query}: {name}"
        assert {*re.findall(r"(\w+)=", selected)} <= LABELS[SERIES[name]], query
    known = {label for name, _ in named for label in LABELS[SERIES[name]]} | {"le"}
    for grouped in re.findall(r"\bby \(([^)]*)\)", query):
        assert {label.strip() for label in grouped.split(",")} <= known, query


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=lambda value: value[:40])
def test_board_queries_use_existing_metrics(title: str, query: str) -> None:
    check(query)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert_rules_use_existing_metrics_and_labels(rule: Rule) -> None:
    check(rule["expr"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    known = {label for labels in LABELS.values() for label in labels}
    assert {*re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])} <= known


def test_the_alert_about_late_events_has_the_limit_of_the_code() -> None:
    (expr,) = (rule["expr"] for rule in RULES if rule["alert"] == "ChillFlowLateEvents")
    assert expr == f"chillflow_late_share >= {LIMIT}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_rule_has_a_test_in_which_it_fires(rule: Rule) -> None:
    expected = {
        case["alertname"] for test in RULE_TESTS for case in test.get("alert_rule_test", ()) if case["exp_alerts"]
    }
    queried = " ".join(case["expr"] for test in RULE_TESTS for case in test.get("promql_expr_test", ()))
    assert rule["alert"] in expected or f'alertname="{rule["alert"]}"' in queried


@pytest.mark.parametrize(
    "arguments",
    [
        "check config --syntax-only prometheus.yml",
        "check rules alerts.yml",
        "test rules alerts_test.yml",
    ],
)
def test_promtool_accepts_the_files(promtool: str, arguments: str) -> None:
    done = subprocess.run(
        [promtool, *arguments.split()], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_board_uses_the_provisioned_data_source() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in BOARD["panels"]} == {source["uid"]}
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
