"""Enough trips for a long run."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.real_trips import GREEN, SAMPLES, whole_file

TRIPS = 56_000
"""About as many as the whole file has."""


@pytest.fixture(scope="session")
def month_of_trips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A month of green trips: TLC's file, or its sample repeated, each time some minutes later."""
    if whole := whole_file(GREEN):
        return whole
    trips = pl.read_parquet(SAMPLES / GREEN)
    path = tmp_path_factory.mktemp("month") / GREEN
    later = [
        trips.with_columns(pl.col("^lpep_.*_datetime$") + pl.duration(minutes=7 * time))
        for time in range(TRIPS // trips.height)
    ]
    pl.concat(later).write_parquet(path)
    return path
