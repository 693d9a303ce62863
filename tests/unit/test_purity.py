"""A module that says "Pure" imports neither Bytewax nor a client, nor Prometheus; seen in a fresh interpreter."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOREIGN = {"bytewax", "confluent_kafka", "prometheus_client", "psycopg", "pyarrow", "sqlite3", "nicegui"}
FRAMES = {"polars"}
"""For modules that say they work on frames."""


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def modules(word: str) -> list[str]:
    """The modules whose docstring has this sentence."""
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "chillflow").rglob("*.py"))
        if word in docstring(path)
    ]


def imported_by(module: str) -> set[str]:
    script = f"import sys, {module}; print(*sys.modules)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.partition(".")[0] for name in done.stdout.split()}


PURE = modules("Pure.")
PURE_ON_FRAMES = modules("Pure, on frames.")


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_imports_none_of_them(module: str) -> None:
    assert imported_by(module) & (FOREIGN | FRAMES) == set()


@pytest.mark.parametrize("module", PURE_ON_FRAMES)
def test_what_works_on_frames_knows_polars_alone(module: str) -> None:
    assert imported_by(module) & FOREIGN == set()


def test_the_hard_parts_are_pure() -> None:
    rooms = {module.split(".")[1] for module in PURE}
    assert {"assembly", "keyed", "model", "production"} <= rooms
    assert len(PURE) >= 20
    assert len(PURE_ON_FRAMES) >= 2


def test_public_operators_know_no_metrics() -> None:
    assert "prometheus_client" not in imported_by("chillflow.operators")
