"""The pure modules import neither Bytewax nor a client library; seen in a fresh interpreter."""

import subprocess
import sys

import pytest

FOREIGN = ("bytewax", "confluent_kafka", "psycopg", "polars", "pyarrow")
MODULES = (
    "trips",
    "events",
    "codec",
    "splitting",
    "assembly",
    "analytics",
    "windows",
    "assembler",
    "keygroup",
    "streamtime",
    "replay",
    "messages",
)


def imported_by(module: str) -> set[str]:
    script = f"import sys, chillflow.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("module", MODULES)
def test_a_pure_module_imports_none_of_them(module: str) -> None:
    assert imported_by(module) & set(FOREIGN) == set()


@pytest.mark.parametrize("module", ["tlc", "bulk"])
def test_what_works_on_frames_knows_polars_alone(module: str) -> None:
    assert imported_by(module) & set(FOREIGN) - {"polars"} == set()
