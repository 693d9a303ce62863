"""How it looks and behaves in a browser: light and dark, narrow, by keyboard, without a network, when it is cut off."""

from __future__ import annotations

import re
import signal
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.dashboard.looking import Looked, looking, serving
from tests.integration.cli import Pipeline


def luminance(looked: Looked) -> float:
    """Of the page's ground, 0 to 1."""
    colour = looked.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["", "trip"])
def test_it_is_as_light_or_dark_as_the_system_and_can_be_turned(
    assembled: Pipeline, browser: Browser, scheme: str, path: str
) -> None:
    context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light")
    with looking(assembled, context.new_page(), path) as looked:
        dark = scheme == "dark"
        looked.wait(lambda: (luminance(looked) < 0.3) == dark)
        looked.page.wait_for_timeout(500)
        looked.at("dark").click()
        looked.wait(lambda: (luminance(looked) < 0.3) != dark)
        if not path:
            looked.wait(
                lambda: looked.chart("map", "chart.getOption().tooltip[0].backgroundColor") != "#ffffff" or dark
            )
    context.close()


@pytest.mark.parametrize("path", ["", "trip?key=nobody"])
def test_it_fits_a_phone(assembled: Pipeline, browser: Browser, path: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    with looking(assembled, context.new_page(), path) as looked:
        looked.page.wait_for_timeout(1500)
        assert looked.page.evaluate("document.documentElement.scrollWidth") <= 360
        expect(looked.at("state")).to_be_in_viewport()
    context.close()


def test_nothing_comes_from_another_origin(assembled: Pipeline, page: Page) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    with looking(assembled, page) as looked:
        looked.wait(lambda: looked.text("total-trips"))
        page.get_by_role("button", name="Table", exact=True).click()
        page.goto(f"{looked.url}trip?key=nobody")
        expect(looked.at("where")).to_be_visible()
        origins = {urlsplit(url).netloc for url in asked if not url.startswith("data:")}
        assert origins == {urlsplit(looked.url).netloc}
    assert len(asked) > 10
    assert [each for each in complaints if "Content Security Policy" in each] == []


def test_a_lost_connection_is_shown_and_heals(assembled: Pipeline, page: Page) -> None:
    with serving(assembled) as (running, url):
        page.goto(url)
        looked = Looked(assembled, page, url)
        looked.wait(lambda: looked.text("total-trips"))
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
        before = looked.number("total-trips")
        assembled.query(changed)
        looked.wait(lambda: looked.number("total-trips") > before)
        port = urlsplit(url).port
        running.stop(signal.SIGKILL)
    expect(lost).to_be_visible(timeout=60_000)
    with serving(assembled, "--port", port):
        expect(lost).to_be_hidden(timeout=30_000)
        looked.wait(lambda: looked.text("total-trips") and looked.number("total-trips") > before)


def test_a_database_that_is_away_is_said_and_what_was_seen_stays(assembled: Pipeline, page: Page) -> None:
    with looking(assembled, page) as looked:
        looked.wait(lambda: looked.text("total-trips"))
        seen = looked.text("total-trips")
        assembled.query("alter table mart.zone_window rename to elsewhere")
        expect(looked.at("problem")).to_be_visible()
        assert looked.text("total-trips") == seen
        assembled.query("alter table elsewhere rename to mart_zone_window")
        expect(looked.at("problem")).to_be_hidden()


def test_all_can_be_done_with_the_keyboard(assembled: Pipeline, page: Page) -> None:
    with looking(assembled, page) as looked:
        looked.wait(lambda: looked.text("total-trips"))
        page.get_by_role("button", name="Revenue", exact=True).press("Enter")
        looked.wait(lambda: "Revenue over" in page.locator("aside").inner_text())
        looked.step(-3)
        looked.at("zone").focus()
        looked.at("zone").press_sequentially("Midtown Center")
        expect(page.get_by_role("option", name="Midtown Center (161)")).to_be_visible()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        looked.wait(lambda: looked.at("zone").input_value() == "Midtown Center (161)")
        expect(looked.at("close")).to_be_visible()
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.closest('[data-test]')?.dataset.test"))
        assert {
            "figure",
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


def test_a_screen_reader_is_told_what_is_what(assembled: Pipeline, page: Page) -> None:
    with looking(assembled, page) as looked:
        looked.wait(lambda: looked.text("total-trips"))
        named: tuple[tuple[Any, Any], ...] = (
            ("region", "Health of the pipeline"),
            ("group", "Events in"),
            ("img", re.compile(r"^Map of \d+ zones by trips; the table says the same\. With the most trips: \w+")),
            ("img", re.compile(r"^Trips over the day: at most \d+, at \d\d:\d\d")),
            ("img", "Events a second over the last 5 minutes"),
            ("slider", "Window of the day"),
            ("button", "Play"),
            ("button", "Light or dark"),
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


def test_it_may_be_stopped_as_soon_as_it_says_where_it_is(embedded: Pipeline) -> None:
    embedded.run("create-topic")
    assert embedded.python(sys.executable, "-c", _STOPPED_AT_ONCE).stderr == ""
