"""Windows are exact: each value is what polars computes from the complete trips."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.integration import windows
from tests.pipelines.pipeline import Pipeline
from tests.real_trips import GREEN, YELLOW, rows_of, scaled_file

DISORDER = ["--shuffle-seconds", "3600", "--duplicates", "0.05", "--drop", "0.01", "--late", "0.01", "--seed", "3"]


def assert_exact(pipeline: Pipeline) -> pl.DataFrame:
    """Compare topic and table with the windows expected from the complete trips; returns these."""
    expected = windows.expected(pipeline.trips())
    assert_frame_equal(windows.in_topic(pipeline), expected)
    assert_frame_equal(windows.in_table(pipeline), expected)
    return expected


@pytest.mark.scaled
@pytest.mark.parametrize(("name", "disorder"), [(GREEN, DISORDER), (YELLOW, [])], ids=["disorder", "in order"])
def test_windows_of_real_files_are_exact(pipeline: Pipeline, name: str, disorder: list[str]) -> None:
    file = scaled_file(name)
    pipeline.run("init-db")
    pipeline.produce(file, *disorder)
    summary = pipeline.assemble("--workers", 2)
    expected = assert_exact(pipeline)
    hours = expected.filter(pl.col("window_minutes") == 60)
    assert hours["trips"].sum() == summary["complete_trips"] - summary["left_out_trips"]
    assert summary["left_out_trips"] == 0
    assert (0.95 if disorder else 1) * rows_of(file) <= summary["complete_trips"] <= rows_of(file)


@pytest.mark.parametrize(
    ("partitions", "workers"),
    [
        *((1, 1), (4, 2), (12, 3)),
        *(
            pytest.param(partitions, workers, marks=pytest.mark.long)
            for partitions, workers in [(1, 2), (1, 3), (4, 1), (4, 3), (12, 1), (12, 2)]
        ),
    ],
)
def test_a_partition_a_month_ahead_excludes_no_trip(
    embedded: Pipeline, tmp_path: Path, partitions: int, workers: int
) -> None:
    """A backlog is read in large chunks per partition; here one partition holds only trips of a month later."""
    now, ahead = tmp_path / "now.parquet", tmp_path / "ahead.parquet"
    embedded.run("generate", "--trips", 4000, "--days", 3, "--out", now)
    pl.read_parquet(now).with_columns(pl.col("^.pep_.*_datetime$").dt.offset_by("31d")).write_parquet(ahead)
    embedded.run("create-topic", "--partitions", partitions)
    embedded.run("init-db")
    embedded.produce(now, *DISORDER)
    other = embedded.folder / "other"
    embedded.run("create-topic", "--partitions", partitions, KAFKA_BOOTSTRAP_SERVERS=f"file:{other}")
    embedded.produce(ahead, *DISORDER, KAFKA_BOOTSTRAP_SERVERS=f"file:{other}")
    first = Path(embedded.topic, "0000.jsonl")
    with (embedded.folder / "topics" / first).open("r+b") as log:
        if partitions > 1:
            log.truncate()
        log.seek(0, os.SEEK_END)
        log.write((other / first).read_bytes())
    summary = embedded.assemble("--workers", workers, CHILLFLOW_EPOCH_INTERVAL="0.05s")
    assert summary["left_out_trips"] == 0
    starts = assert_exact(embedded)["window_start"]
    assert starts.max() - starts.min() > timedelta(days=30)  # type: ignore[operator]


def test_a_correction_updates_final_windows(embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("init-db")
    embedded.produce(trips_file)
    embedded.assemble("--close-all")
    assert all(final for (final,) in embedded.query("select final from mart.zone_window"))
    before = windows.in_table(embedded)
    trip = embedded.trips()[0]
    payment = next(
        each
        for each in embedded.events()
        if each.json["event_type"] == "payment_processed" and each.json["trip_key"] == trip["trip_key"]
    )
    corrected = {**payment.json, "event_version": 1, "event_id": "corrected", "total_amount": 1000.0}
    embedded.topics.send(
        embedded.topic,
        payment.key,
        json.dumps(corrected).encode(),
        timestamp=payment.timestamp,
        partition=payment.partition,
    )
    embedded.assemble()
    after = assert_exact(embedded)
    more = int(after["total_amount"].sum()) - int(before["total_amount"].sum())
    assert more == round(2 * (100_000 - 100 * trip["total_amount"]))


def test_windows_become_final_while_the_stream_runs(embedded: Pipeline, tmp_path: Path) -> None:
    """By the watermark, all but the last; those need an idle timeout, which is long here."""
    embedded.run("init-db")
    embedded.run("generate", "--trips", 3000, "--out", tmp_path / "t.parquet")
    embedded.produce(tmp_path / "t.parquet")
    with embedded.start("assemble", CHILLFLOW_IDLE_TIMEOUT="600s") as running:

        def finals() -> tuple[int, int]:
            ((final, total),) = embedded.query("select coalesce(sum(final), 0), count(*) from mart.zone_window")
            return int(final), int(total)

        running.wait_for(lambda: finals()[0] > 0.9 * finals()[1] > 1000)
        assert finals()[0] < finals()[1]
        running.stop()
    assert_exact(embedded)


def test_windows_of_a_live_stream_are_in_the_table_within_seconds(embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("init-db")
    embedded.run("create-topic")
    with embedded.start("assemble") as running:
        embedded.produce(trips_file)
        running.wait_for(lambda: bool(embedded.query("select 1 from mart.zone_window")), 10)
        running.stop()


def test_window_lengths_are_configurable_and_fixed_by_the_recovery_store(embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("init-db")
    embedded.produce(trips_file)
    embedded.assemble(CHILLFLOW_WINDOWS="5min,1d")
    assert_frame_equal(windows.in_table(embedded), windows.expected(embedded.trips(), (5, 1440)))
    line = embedded.fail("assemble", CHILLFLOW_WINDOWS="1h")
    assert "windows=[5, 1440], not [60]" in line
    assert "divide a day" in embedded.fail("assemble", CHILLFLOW_WINDOWS="7min", code=2)


def test_window_retention_deletes_rows_of_old_windows(embedded: Pipeline, tmp_path: Path) -> None:
    embedded.run("init-db")
    embedded.run("generate", "--trips", 4000, "--days", 40, "--out", tmp_path / "t.parquet")
    embedded.produce(tmp_path / "t.parquet")
    for _ in range(2):  # the last windows written by a bounded run expire only in the next run
        embedded.assemble(CHILLFLOW_WINDOW_RETENTION="12d")
    starts = windows.in_table(embedded)["window_start"]
    assert timedelta(days=11) < starts.max() - starts.min() < timedelta(days=13)  # type: ignore[operator]
    assert "at least 11 days" in embedded.fail("assemble", CHILLFLOW_WINDOW_RETENTION="1d", code=2)
