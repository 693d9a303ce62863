"""The pages in a browser: light and dark, on a phone, by keyboard, offline, with a lost connection."""

from __future__ import annotations

import re
import signal
import sys
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.dashboard.browsing import Dashboard, open_dashboard, serving
from tests.integration.cli import Pipeline

Role = Literal["region", "group", "img", "slider", "button", "combobox", "navigation", "complementary", "textbox"]


def luminance(dashboard: Dashboard) -> float:
    """Luminance of the background, 0 to 1."""
    colour = dashboard.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["", "trip"])
def test_the_theme_follows_the_system_and_can_be_switched(
    assembled: Pipeline, browser: Browser, scheme: str, path: str
) -> None:
    context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light")
    with open_dashboard(assembled, context.new_page(), path) as dashboard:
        dark = scheme == "dark"
        dashboard.wait(lambda: (luminance(dashboard) < 0.3) == dark)
        dashboard.page.wait_for_timeout(500)
        dashboard.at("dark").click()
        dashboard.wait(lambda: (luminance(dashboard) < 0.3) != dark)
        if not path:
            dashboard.wait(
                lambda: dashboard.chart("map", "chart.getOption().tooltip[0].backgroundColor") != "#ffffff" or dark
            )
    context.close()


@pytest.mark.parametrize("path", ["", "trip?key=nobody"])
def test_the_pages_fit_a_phone(assembled: Pipeline, browser: Browser, path: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    with open_dashboard(assembled, context.new_page(), path) as dashboard:
        dashboard.page.wait_for_timeout(1500)
        assert dashboard.page.evaluate("document.documentElement.scrollWidth") <= 360
        expect(dashboard.at("state")).to_be_in_viewport()
    context.close()


def test_nothing_is_loaded_from_another_origin(assembled: Pipeline, page: Page) -> None:
    requested: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("websocket", lambda socket: requested.append(socket.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    with open_dashboard(assembled, page) as dashboard:
        dashboard.wait(lambda: dashboard.text("total-trips"))
        page.get_by_role("button", name="Table", exact=True).click()
        page.goto(f"{dashboard.url}trip?key=nobody")
        expect(dashboard.at("where")).to_be_visible()
        origins = {urlsplit(url).netloc for url in requested if not url.startswith("data:")}
        assert origins == {urlsplit(dashboard.url).netloc}
    assert len(requested) > 10
    assert [each for each in complaints if "Content Security Policy" in each] == []


def test_a_lost_connection_is_shown_and_heals(assembled: Pipeline, page: Page) -> None:
    with serving(assembled) as (running, url):
        page.goto(url)
        dashboard = Dashboard(assembled, page, url)
        dashboard.wait(lambda: dashboard.text("total-trips"))
        page.wait_for_function("window.did_handshake")  # the text comes with the page, before there is a connection
        page.wait_for_load_state("networkidle")
        lost = page.get_by_text("Connection lost", exact=False)
        expect(lost).to_be_hidden()
        running.process.send_signal(signal.SIGSTOP)
        page.context.set_offline(True)
        expect(lost).to_be_visible(timeout=60_000)
        running.process.send_signal(signal.SIGCONT)
        page.context.set_offline(False)
        expect(lost).to_be_hidden(timeout=30_000)
        changed = "update mart.zone_window set trips = trips + 5000 where window_minutes = 15"
        before = dashboard.number("total-trips")
        assembled.query(changed)
        dashboard.wait(lambda: dashboard.number("total-trips") > before)
        port = urlsplit(url).port
        running.stop(signal.SIGKILL)
    expect(lost).to_be_visible(timeout=60_000)
    with serving(assembled, "--port", port):
        expect(lost).to_be_hidden(timeout=30_000)
        dashboard.wait(lambda: dashboard.text("total-trips") and dashboard.number("total-trips") > before)


def test_a_database_outage_is_reported_and_the_last_view_stays(assembled: Pipeline, page: Page) -> None:
    with open_dashboard(assembled, page) as dashboard:
        dashboard.wait(lambda: dashboard.text("total-trips"))
        seen = dashboard.text("total-trips")
        assembled.query("alter table mart.zone_window rename to elsewhere")
        expect(dashboard.at("problem")).to_be_visible()
        assert dashboard.text("total-trips") == seen
        assembled.query("alter table elsewhere rename to mart_zone_window")
        expect(dashboard.at("problem")).to_be_hidden()


def test_everything_works_by_keyboard(assembled: Pipeline, page: Page) -> None:
    with open_dashboard(assembled, page) as dashboard:
        dashboard.wait(lambda: dashboard.text("total-trips"))
        page.get_by_role("button", name="Revenue", exact=True).press("Enter")
        dashboard.wait(lambda: "Revenue over" in page.locator("aside").inner_text())
        dashboard.step(-3)
        dashboard.at("zone").focus()
        dashboard.at("zone").press_sequentially("Midtown Center")
        expect(page.get_by_role("option", name="Midtown Center (161)")).to_be_visible()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        dashboard.wait(lambda: dashboard.at("zone").input_value() == "Midtown Center (161)")
        expect(dashboard.at("close")).to_be_visible()
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.closest('[data-test]')?.dataset.test"))
        assert {
            "measure",
            "extent",
            "form",
            "play",
            "slider",
            "live",
            "day",
            "length",
            "zone",
            "close",
            "flows",
        } <= reached


def test_elements_have_roles_and_names_for_screen_readers(assembled: Pipeline, page: Page) -> None:
    with open_dashboard(assembled, page) as dashboard:
        dashboard.wait(lambda: dashboard.text("total-trips"))
        named: tuple[tuple[Role, str | re.Pattern[str]], ...] = (
            ("region", "Health of the pipeline"),
            ("group", "Events in"),
            ("img", re.compile(r"^Map of \d+ zones by trips; the table shows the same\. Most trips: \w+")),
            ("img", re.compile(r"^Trips over the day: highest \d+, at \d\d:\d\d")),
            ("img", "Events per second over the last 5 minutes"),
            ("slider", "Window of the day"),
            ("button", "Play"),
            ("button", "Light or dark"),
            ("group", "Measure"),
            ("textbox", "Day"),
            ("combobox", "Zone"),
            ("navigation", "Pages"),
            ("complementary", "Zone"),
        )
        for role, name in named:
            expect(page.get_by_role(role, name=name, exact=True).first).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_contain_text("2024")
        unnamed = page.evaluate(
            "[...document.querySelectorAll('button, input, a')].filter(e => e.offsetParent && !e.ariaLabel"
            " && !e.innerText.trim() && !e.labels?.length).map(e => e.outerHTML)"
        )
        assert unnamed == []


_STOPPED_AT_ONCE = """
import os, signal
from chillflow.dashboard.server import serve
from chillflow.settings import load
serve(load(), host="127.0.0.1", port=0, ready=lambda address: os.kill(os.getpid(), signal.SIGINT))
"""


def test_it_can_be_stopped_as_soon_as_it_prints_its_address(embedded: Pipeline) -> None:
    embedded.run("create-topic")
    assert embedded.python(sys.executable, "-c", _STOPPED_AT_ONCE).stderr == ""
