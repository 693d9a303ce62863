"""The samples in tests/data: small, reproducible, and with the oddities of their files."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.make_samples import ODDITIES, ROWS, sample_of, trips_of
from tests.missing import missing
from tests.real_trips import GREEN, SAMPLES, YELLOW, real_file, whole_file

IN_NEITHER = {"identical", "backwards"}
ONLY_GREEN = {
    "no passenger count",
    "no rate code",
    "no trip type alone",
    "no passengers",
    "negative amount",
    "negative extra",
    "nothing to pay",
    "charged and reversed",
}
ABSENT = {GREEN: IN_NEITHER, YELLOW: IN_NEITHER | ONLY_GREEN}


def oddities(table: pa.Table) -> set[str]:
    """The names of the oddities that the rows have."""
    trips = trips_of(table)
    return {name for name, oddity in ODDITIES.items() if trips.select(oddity.any()).item()}


@pytest.mark.parametrize("name", [GREEN, YELLOW])
def test_a_sample_has_the_oddities_of_its_file(name: str) -> None:
    sample = pq.read_table(SAMPLES / name)
    assert sample.num_rows == ROWS
    assert oddities(sample) == ODDITIES.keys() - ABSENT[name]
    assert oddities(pq.read_table(real_file(name))) == oddities(sample)


def test_the_samples_are_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.glob("*.parquet")) < 200_000


@pytest.mark.parametrize("name", [GREEN, YELLOW])
def test_a_sample_is_reproduced_from_the_whole_file(name: str) -> None:
    path = whole_file(name) or missing("the whole trip files", "name the folder that has them in CHILLFLOW_TEST_DATA")
    whole = pq.read_table(path)
    sample = pq.read_table(SAMPLES / name)
    assert sample.schema.equals(whole.schema)
    assert sample.equals(sample_of(whole))
