"""The health strip while a pipeline runs, is killed, and runs again."""

from __future__ import annotations

import json
import signal

from playwright.sync_api import Page, expect

from chillflow.telemetry.late_share import CAUSES, describe
from tests.dashboard.browsing import Dashboard, open_dashboard
from tests.pipelines.pipeline import Pipeline

RED, GREEN = "Not running", "Running"


def state(dashboard: Dashboard) -> str:
    return dashboard.at("state").inner_text()


def test_a_killed_pipeline_turns_the_state_red_and_a_new_one_turns_it_back(assembled: Pipeline, page: Page) -> None:
    with open_dashboard(assembled, page) as dashboard:
        dashboard.wait(lambda: RED in state(dashboard))
        red = dashboard.at("state").get_by_text(RED, exact=True).evaluate("e => getComputedStyle(e).color")
        with assembled.start("assemble") as first:
            dashboard.wait(lambda: "check_circle" in state(dashboard), timeout=30)
            assert GREEN in state(dashboard)
            assert "since " in state(dashboard)
            green = dashboard.at("state").get_by_text(GREEN, exact=True).evaluate("e => getComputedStyle(e).color")
            assert red != green
            first.stop(signal.SIGKILL)
            dashboard.wait(lambda: RED in state(dashboard))
            assert "no `assemble` runs on" in state(dashboard)
        with assembled.start("assemble"):
            dashboard.wait(lambda: GREEN in state(dashboard) and RED not in state(dashboard), timeout=30)


def test_the_numbers_are_those_of_the_account(assembled: Pipeline, page: Page) -> None:
    for number in range(3):
        assembled.topics.send("trip-events", b"key", b"no event %d" % number, timestamp=1704200000000)
    with assembled.start("assemble"), open_dashboard(assembled, page, "trip") as dashboard:
        dashboard.wait(lambda: dashboard.text("letters").startswith("Dead letters\n3"), timeout=30)
        status = json.loads(assembled.run("status", "--json").stdout)
        for test, expected in {
            "events": status["read"],
            "complete": status["trips"]["complete"],
            "open": status["trips"]["open"],
            "incomplete": status["trips"]["incomplete"],
            "late": status["events"]["late"],
        }.items():
            assert dashboard.text(test).splitlines()[1] == f"{expected:,}", test
        assert "Balances" in dashboard.text("account")
        assert dashboard.text("lag").splitlines()[1:] == ["0 s", "0 bytes"]
        dashboard.wait(lambda: "3 no json" in dashboard.text("letters"))
        dashboard.at("letters").click()
        expect(page.get_by_text("3 × no json (decode)")).to_be_visible()
        drawn = dashboard.page.locator("[data-test=rate] canvas")
        expect(drawn).to_be_visible()


def test_too_many_late_events_are_shown_with_their_causes(assembled: Pipeline, page: Page) -> None:
    with open_dashboard(assembled, page) as dashboard:
        dashboard.wait(lambda: "too late to count" in dashboard.text("late"))
        assert "WRONG" not in dashboard.text("late")
    file = assembled.folder / "recovery" / "account.json"
    account = json.loads(file.read_text())
    start, *_, end = account["window"]
    file.write_text(json.dumps({**account, "window": [start, [*end[:2], end[1] // 50]]}))

    with open_dashboard(assembled, page) as dashboard:
        dashboard.wait(lambda: f"WRONG: {describe(0.02)}" in dashboard.text("late"))
        assert "warning" in dashboard.text("late")
        dashboard.at("late").click()
        for cause in CAUSES:
            expect(page.get_by_text(cause)).to_be_visible()


def test_an_account_that_does_not_balance_is_shown(assembled: Pipeline, page: Page) -> None:
    file = assembled.folder / "recovery" / "account.json"
    account = json.loads(file.read_text())
    file.write_text(json.dumps({**account, "duplicates": account["duplicates"] - 7}))

    with open_dashboard(assembled, page) as dashboard:
        dashboard.wait(lambda: "7 off" in dashboard.text("account"))


def test_grafana_is_linked_if_configured(assembled: Pipeline, page: Page) -> None:
    with open_dashboard(assembled, page) as dashboard:
        expect(dashboard.at("grafana")).to_have_count(0)
    with open_dashboard(assembled, page, CHILLFLOW_GRAFANA_URL="http://127.0.0.1:3000/d/x") as dashboard:
        expect(dashboard.at("grafana")).to_have_attribute("href", "http://127.0.0.1:3000/d/x")
