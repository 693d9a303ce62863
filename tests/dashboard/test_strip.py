"""The strip of health: what an operator sees while a pipeline runs, is killed, and runs again."""

from __future__ import annotations

import json
import signal

from playwright.sync_api import Page, expect

from tests.dashboard.looking import Looked, looking
from tests.integration.cli import Pipeline

RED, GREEN = "Not running", "Running"


def state(looked: Looked) -> str:
    return looked.at("state").inner_text()


def test_a_killed_pipeline_turns_the_state_red_and_a_new_one_turns_it_back(assembled: Pipeline, page: Page) -> None:
    with looking(assembled, page) as looked:
        looked.wait(lambda: RED in state(looked))
        red = looked.at("state").get_by_text(RED, exact=True).evaluate("e => getComputedStyle(e).color")
        with assembled.start("assemble") as first:
            looked.wait(lambda: "check_circle" in state(looked), timeout=30)
            assert GREEN in state(looked)
            assert "since " in state(looked)
            green = looked.at("state").get_by_text(GREEN, exact=True).evaluate("e => getComputedStyle(e).color")
            assert red != green
            first.stop(signal.SIGKILL)
            looked.wait(lambda: RED in state(looked))
            assert "no `assemble` runs on" in state(looked)
        with assembled.start("assemble"):
            looked.wait(lambda: GREEN in state(looked) and RED not in state(looked), timeout=30)


def test_its_numbers_are_those_of_the_account(assembled: Pipeline, page: Page) -> None:
    for number in range(3):
        assembled.topics.send("trip-events", b"key", b"no event %d" % number, timestamp=1704200000000)
    with assembled.start("assemble"), looking(assembled, page, "trip") as looked:
        looked.wait(lambda: looked.text("letters").startswith("Dead letters\n3"), timeout=30)
        told = json.loads(assembled.run("status", "--json").stdout)
        for test, expected in {
            "events": told["read"],
            "complete": told["trips"]["complete"],
            "open": told["trips"]["open"],
            "incomplete": told["trips"]["incomplete"],
            "late": told["events"]["late"],
        }.items():
            assert looked.text(test).splitlines()[1] == f"{expected:,}", test
        assert "Balances" in looked.text("account")
        assert looked.text("lag").splitlines()[1:] == ["0 s", "0 bytes"]
        looked.wait(lambda: "3 no json" in looked.text("letters"))
        looked.at("letters").click()
        expect(page.get_by_text("3 × no json (decode)")).to_be_visible()
        drawn = looked.page.locator("[data-test=rate] canvas")
        expect(drawn).to_be_visible()


def test_an_account_that_does_not_balance_is_shown(assembled: Pipeline, page: Page) -> None:
    file = assembled.folder / "recovery" / "account.json"
    account = json.loads(file.read_text())
    file.write_text(json.dumps({**account, "duplicates": account["duplicates"] - 7}))

    with looking(assembled, page) as looked:
        looked.wait(lambda: "7 off" in looked.text("account"))


def test_grafana_is_linked_where_it_is_known(assembled: Pipeline, page: Page) -> None:
    with looking(assembled, page) as looked:
        expect(looked.at("grafana")).to_have_count(0)
    with looking(assembled, page, CHILLFLOW_GRAFANA_URL="http://127.0.0.1:3000/d/x") as looked:
        expect(looked.at("grafana")).to_have_attribute("href", "http://127.0.0.1:3000/d/x")
