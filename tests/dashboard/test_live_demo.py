"""`demo --live`: a day passes on the page, and Ctrl-C ends everything."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from chillflow.cli.demo import live_demo
from chillflow.settings import Settings
from tests.dashboard.browsing import Dashboard, address
from tests.pipelines.pipeline import Pipeline

UNSET: dict[str, Any] = dict.fromkeys(("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "CHILLFLOW_RECOVERY_DIR"))


def children(pid: int) -> list[int]:
    """Child processes."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_day_passes_and_ctrl_c_ends_the_demo(embedded: Pipeline, page: Page) -> None:
    command = ("demo", "--live", "--trips", 1500, "--minutes", 0.25, "--port", 0, "--folder", "here")
    with embedded.start(*command, **UNSET) as running:
        running.wait_for(lambda: "http://" in running.stderr.read_text(), timeout=60)
        url = address(running)
        page.goto(url)
        shown = Pipeline(
            embedded.folder,
            "file:here/topics",
            f"sqlite:///{embedded.folder / 'here' / 'trips.sqlite'}",
            embedded.topics,
        )
        dashboard = Dashboard(shown, page, url)
        dashboard.wait(lambda: dashboard.text("total-trips") != "", timeout=60)
        dashboard.wait(lambda: dashboard.text("state").startswith("Pipeline\ncheck_circle\nRunning"), timeout=60)
        first = dashboard.window[0]
        dashboard.wait(lambda: dashboard.window[0] > first, timeout=30)
        dashboard.wait(lambda: dashboard.number("complete") > 1250, timeout=90)
        dashboard.wait(lambda: dashboard.number("incomplete") > 0, timeout=30)
        assert "Balances" in dashboard.text("account")

        def equals_the_table() -> bool:
            newest = shown.query("select trips from mart.city_now where window_minutes = 15")
            return [(dashboard.number("total-trips"),)] == newest

        dashboard.wait(equals_the_table)
        processes = children(running.process.pid)
        assert processes
        done = running.stop(signal.SIGINT, within=30)
    assert done.code == 0
    assert "error" not in done.stderr
    assert "chillflow-stream" in done.stdout
    assert [pid for pid in processes if Path(f"/proc/{pid}").exists()] == []


def test_a_failing_pipeline_ends_the_demo_with_its_error(embedded: Pipeline) -> None:
    said = embedded.process(
        "demo", "--live", "--trips", 100, "--port", 0, code=1, CHILLFLOW_METRICS_HOST="198.51.100.1", **UNSET
    ).stderr
    assert "error: assemble failed: cannot serve metrics on 198.51.100.1" in said


def test_processes_that_the_end_of_the_demo_kills_have_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page that closes at once: SIGTERM arrives before the processes handle it, so it kills them."""
    monkeypatch.setattr(live_demo, "serve", lambda *_, **__: None)

    live_demo.run(Settings(), tmp_path / "here", trips=10, seed=1, file=None, minutes=1, port=0)

    assert "To continue" in capsys.readouterr().out
