"""Browser and pipelines for the dashboard tests. Without Chromium the tests are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from chillflow.synthetic.trip_generator import generate
from tests.dashboard.browsing import Dashboard, open_dashboard
from tests.pipelines.fixtures import on_files
from tests.pipelines.pipeline import Pipeline
from tests.servers import shared
from tests.servers.chromium import ChromiumServer
from tests.servers.fixtures import required


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium, one for the session; required in CI."""
    with required("Chromium"):
        chromium = shared.running("chromium", ChromiumServer)
    with sync_playwright() as playwright:
        yield playwright.chromium.connect_over_cdp(chromium.url)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in a fresh browser context."""
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


def assemble_day(pipeline: Pipeline, trips: Path) -> Pipeline:
    """Assemble a day; its last windows stay provisional."""
    pipeline.run("init-db")
    pipeline.produce(trips)
    pipeline.assemble()
    return pipeline


@pytest.fixture(scope="session")
def assembled_folder(tmp_path_factory: pytest.TempPathFactory, day_of_trips: Path) -> Path:
    """The folder of a pipeline on files after the day."""
    folder = tmp_path_factory.mktemp("assembled")
    assemble_day(on_files(folder), day_of_trips)
    return folder


@pytest.fixture
def assembled(assembled_folder: Path, embedded: Pipeline) -> Pipeline:
    """A pipeline on files after the day."""
    shutil.copytree(assembled_folder, embedded.folder, dirs_exist_ok=True)
    return embedded


@pytest.fixture
def dashboard(assembled: Pipeline, page: Page) -> Iterator[Dashboard]:
    """The dashboard of the assembled day, open in the browser."""
    with open_dashboard(assembled, page) as dashboard:
        yield dashboard


@pytest.fixture
def dashboard_on_servers(on_servers: Pipeline, day_of_trips: Path, page: Page) -> Iterator[Dashboard]:
    """The same on Kafka and Postgres."""
    with open_dashboard(assemble_day(on_servers, day_of_trips), page) as dashboard:
        yield dashboard
