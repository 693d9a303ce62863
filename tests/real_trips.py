"""Real trips for tests: TLC's whole files if they are available, else their samples in tests/data."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq

GREEN = "green_tripdata_2024-01.parquet"
YELLOW = "yellow_tripdata_2025-01_sample.parquet"
LONG = "CHILLFLOW_TEST_LONG"
"""Set in all processes of a run with `--long`."""
SAMPLES = Path(__file__).with_name("data")


def whole_file(name: str) -> Path | None:
    """TLC's file from the folder in CHILLFLOW_TEST_DATA, by default ../shared/data next to the checkout."""
    named = os.environ.get("CHILLFLOW_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if named and not folder.is_dir():
        raise NotADirectoryError(f"CHILLFLOW_TEST_DATA: no folder {folder}")
    path = folder.resolve() / name
    return path if path.exists() and path.parent != SAMPLES.resolve() else None


def real_file(name: str) -> Path:
    """The whole file if it is available, else its sample."""
    return whole_file(name) or SAMPLES / name


def is_long() -> bool:
    """Whether this is a run with `--long`."""
    return bool(os.environ.get(LONG))


def scaled_file(name: str) -> Path:
    """The file for a test marked `scaled`: the sample, or with `--long` the whole file if it is available."""
    return real_file(name) if is_long() else SAMPLES / name


def rows_of(path: Path) -> int:
    """The number of rows of a parquet file."""
    return int(pq.read_metadata(path).num_rows)
