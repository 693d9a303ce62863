"""A browser as people have it, and pipelines to be looked at. Where there is no Chromium its tests are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from chillflow.synthetic.trip_generator import generate
from tests.conftest import had
from tests.dashboard.looking import Looked, looking
from tests.integration.cli import FileTopics, Pipeline
from tests.integration.conftest import embedded, on_servers
from tests.servers import shared
from tests.servers.chromium import ChromiumServer

__all__ = ["embedded", "on_servers"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a window, one for all tests of the session; in CI it must be there."""
    with had("Chromium"):
        chromium = shared.running("chromium", ChromiumServer)
    with sync_playwright() as playwright:
        yield playwright.chromium.connect_over_cdp(chromium.url)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser that has seen nothing yet."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    context.set_default_timeout(20_000)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def day_of_trips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4,000 trips of one day."""
    path = tmp_path_factory.mktemp("generated") / "day.parquet"
    generate(path, 4_000, days=1, seed=3)
    return path


def put_together(pipeline: Pipeline, trips: Path) -> Pipeline:
    """A day in its tables, the last windows still provisional."""
    pipeline.run("init-db")
    pipeline.produce(trips)
    pipeline.assemble()
    return pipeline


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory, day_of_trips: Path) -> Path:
    """What a pipeline on files has made of the day: its folder."""
    folder = tmp_path_factory.mktemp("kept")
    topics = folder / "topics"
    put_together(
        Pipeline(folder, f"file:{topics}", f"sqlite:///{folder / 'trips.sqlite'}", FileTopics(topics)), day_of_trips
    )
    return folder


@pytest.fixture
def assembled(kept: Path, embedded: Pipeline) -> Pipeline:
    """A pipeline on files that has put the day together."""
    shutil.copytree(kept, embedded.folder, dirs_exist_ok=True)
    return embedded


@pytest.fixture
def looked(assembled: Pipeline, page: Page) -> Iterator[Looked]:
    """The dashboard of that pipeline, open in the browser."""
    with looking(assembled, page) as looked:
        yield looked


@pytest.fixture
def looked_on_servers(on_servers: Pipeline, day_of_trips: Path, page: Page) -> Iterator[Looked]:
    """The same on Kafka and Postgres."""
    with looking(put_together(on_servers, day_of_trips), page) as looked:
        yield looked
