"""Which tests run: those of `make test`, or with `--long` those of `make test-long`. Also how many run at once."""

import os

import pytest

from tests.real_trips import LONG

MARKERS = {
    "kafka": {"kafka_server", "secured_kafka", "own_kafka"},
    "postgres": {"postgres_server", "own_postgres"},
    "browser": {"browser"},
}
"""Markers, and the fixtures whose tests get them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--long`."""
    parser.addoption("--long", action="store_true", help="run tests marked `long`, and those marked `scaled` in full")


def pytest_configure(config: pytest.Config) -> None:
    """Tell all processes of a run with `--long`."""
    if config.getoption("--long"):
        os.environ[LONG] = "1"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of the other kind of run, and mark the rest by the servers they use, before `-m` selects."""
    chosen = ("long", "scaled") if config.getoption("--long") else ("every_time", "scaled")
    others = [item for item in items if _kind(item) not in chosen]
    items[:] = [item for item in items if _kind(item) in chosen]
    config.hook.pytest_deselected(items=others)
    for item in items:
        for marker, fixtures in MARKERS.items():
            if fixtures.intersection(getattr(item, "fixturenames", ())):
                item.add_marker(marker)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores, at most nine: tests wait for servers a third of the time."""
    return min(os.cpu_count() or 1, 8) + 1


def _kind(item: pytest.Item) -> str:
    return next((kind for kind in ("long", "scaled") if item.get_closest_marker(kind)), "every_time")
