"""`demo --live`: a day goes by on the page, and Ctrl-C ends it all."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.dashboard.looking import Looked, address
from tests.integration.cli import Pipeline


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_day_goes_by_and_ctrl_c_ends_it(embedded: Pipeline, page: Page) -> None:
    bare: dict[str, Any] = dict.fromkeys(("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "CHILLFLOW_RECOVERY_DIR"))
    command = ("demo", "--live", "--trips", 1500, "--minutes", 0.25, "--port", 0, "--folder", "here")
    with embedded.start(*command, **bare) as running:
        running.wait_for(lambda: "http://" in running.stderr.read_text(), timeout=60)
        url = address(running)
        page.goto(url)
        shown = Pipeline(
            embedded.folder,
            "file:here/topics",
            f"sqlite:///{embedded.folder / 'here' / 'trips.sqlite'}",
            embedded.topics,
        )
        looked = Looked(shown, page, url)
        looked.wait(lambda: looked.text("total-trips") != "", timeout=60)
        looked.wait(lambda: looked.text("state").startswith("Pipeline\ncheck_circle\nRunning"), timeout=60)
        first = looked.window[0]
        looked.wait(lambda: looked.window[0] > first, timeout=30)
        looked.wait(lambda: looked.number("complete") > 1250, timeout=90)
        looked.wait(lambda: looked.number("incomplete") > 0, timeout=30)
        assert "Balances" in looked.text("account")

        def is_as_the_table() -> bool:
            newest = shown.query("select trips from mart.city_now where window_minutes = 15")
            return [(looked.number("total-trips"),)] == newest

        looked.wait(is_as_the_table)
        processes = children(running.process.pid)
        assert processes
        done = running.stop(signal.SIGINT, within=30)
    assert done.code == 0
    assert "error" not in done.stderr
    assert "chillflow-stream" in done.stdout
    assert [pid for pid in processes if Path(f"/proc/{pid}").exists()] == []


def test_a_pipeline_that_fails_ends_the_demo_with_its_reason(embedded: Pipeline) -> None:
    bare: dict[str, Any] = dict.fromkeys(("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "CHILLFLOW_RECOVERY_DIR"))
    said = embedded.process(
        "demo", "--live", "--trips", 100, "--port", 0, code=1, CHILLFLOW_METRICS_HOST="198.51.100.1", **bare
    ).stderr
    assert "error: assemble failed: cannot serve metrics on 198.51.100.1" in said
