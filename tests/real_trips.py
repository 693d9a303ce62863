"""Real trips for tests: TLC's whole files where they are to be had, else the samples of them in tests/data."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq

GREEN = "green_tripdata_2024-01.parquet"
YELLOW = "yellow_tripdata_2025-01_sample.parquet"
LONG = "CHILLFLOW_TEST_LONG"
"""The variable that says so to all processes of a run of `make test-long`."""
SAMPLES = Path(__file__).with_name("data")


def whole_file(name: str) -> Path | None:
    """Return TLC's file from the folder that CHILLFLOW_TEST_DATA names, or from ../shared/data beside the checkout."""
    named = os.environ.get("CHILLFLOW_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if named and not folder.is_dir():
        raise NotADirectoryError(f"CHILLFLOW_TEST_DATA: no folder {folder}")
    path = folder.resolve() / name
    return path if path.exists() and path.parent != SAMPLES.resolve() else None


def real_file(name: str) -> Path:
    """Return the file that tests of real trips are to use: the whole one if it is there, else its sample."""
    return whole_file(name) or SAMPLES / name


def is_long() -> bool:
    """Return whether this is `make test-long`."""
    return bool(os.environ.get(LONG))


def scaled_file(name: str) -> Path:
    """Return the file for a test of whole pipelines, marked `scaled`: each time the sample, and in `make test-long` the
    whole one.
    """
    return real_file(name) if is_long() else SAMPLES / name


def rows_of(path: Path) -> int:
    """Count the rows of a parquet file."""
    return int(pq.read_metadata(path).num_rows)
