"""The dashboard in tests: the command, and its page in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.pipelines.command import Running
from tests.pipelines.pipeline import Pipeline
from tests.servers._process import wait_until

NEW_YORK = timezone(timedelta(hours=-5))
"""New York in winter: all days of these tests are in January."""


@contextmanager
def serving(pipeline: Pipeline, *arguments: object, **changes: str | None) -> Iterator[tuple[Running, str]]:
    """The running command `dashboard`, and its address."""
    with pipeline.start("dashboard", *(arguments or ("--port", 0)), **changes) as running:
        running.wait_for(lambda: "http://" in running.stderr.read_text())
        yield running, address(running)


def address(running: Running) -> str:
    """The address that the command prints."""
    (found,) = re.findall(r"http://\S+/", running.stderr.read_text())
    return str(found)


@dataclass
class Dashboard:
    """A page of the dashboard in a browser."""

    pipeline: Pipeline
    page: Page
    url: str

    def at(self, test: str) -> Locator:
        """The element with this `data-test`."""
        return self.page.locator(f"[data-test={test}]")

    def text(self, test: str) -> str:
        return self.at(test).inner_text().strip()

    def number(self, test: str) -> float:
        """The number shown there; NaN without one, as while a busy pipeline does not answer."""
        return float(re.sub(r"[^\d.]", "", self.text(test)) or "nan")

    def wait(self, condition: Callable[[], object], timeout: float = 15) -> None:
        """Wait until the condition is true."""
        assert self._wait(condition, timeout), self.page.locator("body").inner_text()

    def wait_for_change(self, test: str, before: str) -> None:
        """Wait until a text is no longer the one before."""
        self.wait(lambda: self.text(test) != before)

    def _wait(self, condition: Callable[[], object], timeout: float) -> bool:
        def holds() -> bool:
            self.page.wait_for_timeout(50)
            return bool(condition())

        return wait_until(holds, timeout)

    @property
    def window(self) -> tuple[str, int]:
        """The window shown: its start in SQL, and its minutes."""
        found = re.search(r"(\d+ \w+ \d+, \d\d:\d\d)–(\d\d:\d\d)", self.text("window"))
        assert found, self.text("window")
        start = datetime.strptime(found[1], "%d %b %Y, %H:%M").replace(tzinfo=NEW_YORK)
        end = datetime.strptime(found[2], "%H:%M").replace(tzinfo=NEW_YORK)
        return str(start), (60 * (end.hour - start.hour) + end.minute - start.minute) % 1440

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of the database; `:start` is the start of the window shown."""
        start, _ = self.window
        if self.pipeline.embedded:
            ((start,),) = self.pipeline.query(f"select strftime('%Y-%m-%dT%H:%M:%S', '{start}') || '.000000+00:00'")
        return self.pipeline.query(statement.replace(":start", f"'{start}'"))

    def chart(self, test: str, expression: str) -> Any:
        """The value of a JavaScript expression over `chart`, the ECharts instance."""
        number = (self.at(test).get_attribute("id") or "").removeprefix("c")
        return self.page.evaluate(f"(() => {{ const chart = getElement({number}).chart; return {expression}; }})()")

    def step(self, keys: int) -> None:
        """Move the slider by some windows with the keyboard; backwards if negative."""
        knob = self.at("slider").locator("[tabindex]")
        for _ in range(abs(keys)):
            before = self.text("window")
            knob.press("ArrowRight" if keys > 0 else "ArrowLeft")
            self.wait_for_change("window", before)


@contextmanager
def open_dashboard(pipeline: Pipeline, page: Page, path: str = "", **changes: str | None) -> Iterator[Dashboard]:
    """The dashboard of a pipeline, open in a browser."""
    with serving(pipeline, **changes) as (_, url):
        page.goto(url + path)
        expect(page.locator("[data-test=strip]")).to_be_visible()
        yield Dashboard(pipeline, page, url)
