"""Results of a log in disorder, compared with a second implementation of the rules."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import polars as pl
import pytest

from chillflow.keyed.watermark import WatermarkTracker
from tests.pipelines.pipeline import Changes, Pipeline
from tests.pipelines.topics import JsonObject, Read
from tests.real_trips import GREEN, YELLOW, rows_of, scaled_file

HOUR = 3_600_000
RANK = 20
DISORDER = "--shuffle-seconds=3600 --duplicates=0.05 --drop=0.01 --late=0.01 --seed=5"
NEEDED = {"trip_started", "payment_processed", "trip_ended"}


Values: TypeAlias = dict[bytes | None, list[bytes | None]]
"""All values of each key of a topic, in order."""


@dataclass
class Model:
    """The rules of assembly, applied trip by trip to the events and their watermarks."""

    account: Counter[str] = field(default_factory=Counter)
    complete: dict[str, int] = field(default_factory=dict)
    incomplete: dict[str, int] = field(default_factory=dict)

    def read(self, messages: list[Read]) -> None:
        partitions: defaultdict[int, list[Read]] = defaultdict(list)
        for message in messages:
            partitions[message.partition].append(message)
        for log in partitions.values():
            trips: defaultdict[str, list[tuple[int, JsonObject, int]]] = defaultdict(list)
            tracker = WatermarkTracker(RANK)  # which has a model of its own in test_watermark.py
            watermark = tracker.now
            for message in log:
                assert message.timestamp is not None
                watermark = tracker.observe(message.timestamp, message.key)
                event = message.json
                trips[event["trip_key"]].append((watermark, event, message.timestamp))
            for key, seen in trips.items():
                self._trip(key, seen, watermark)

    def _trip(self, key: str, seen: list[tuple[int, JsonObject, int]], last: int) -> None:  # noqa: C901 - all rules in one place
        status, deadline, revision, latest = "gone", 0, 0, 0
        ids: dict[str, str] = {}

        def expire(watermark: int) -> None:
            nonlocal status, deadline, revision
            while status != "gone" and deadline < watermark:
                if status == "open":
                    status, deadline, revision = "incomplete", deadline + 8 * 24 * HOUR, revision + 1
                    self.incomplete[key] = revision
                else:
                    self.account[f"{status}_trips"] += 1
                    self.account[f"events_in_{status}"] += len(ids)
                    status = "gone"
                    ids.clear()

        for watermark, event, time in seen:
            expire(watermark)
            if status == "gone":
                if time < watermark - 24 * HOUR:
                    self.account["late"] += 1
                    continue
                status, deadline, revision, latest = "open", max(watermark, time) + 25 * HOUR, 0, 0
            if event["event_id"] in ids.values():
                self.account["duplicates"] += 1
                continue
            ids[event["event_type"]] = event["event_id"]
            latest = max(latest, time)
            if status == "complete":
                deadline = max(deadline, watermark + 24 * HOUR, time + 24 * HOUR)
            elif ids.keys() >= NEEDED:
                status, deadline, revision = "complete", max(watermark, latest) + 24 * HOUR, revision + 1
                self.complete[key] = revision
            elif status == "incomplete":
                revision += 1
                self.incomplete[key] = revision
        expire(last)
        if status != "gone":
            self.account[f"{status}_trips"] += 1
            self.account[f"events_in_{status}"] += len(ids)


def per_key(messages: list[Read]) -> Values:
    found: defaultdict[bytes | None, list[bytes | None]] = defaultdict(list)
    for message in messages:
        found[message.key].append(message.value)
    return dict(found)


def revisions(messages: list[Read]) -> dict[str, int]:
    return {message.json["trip_key"]: message.json["revision"] for message in messages}


@pytest.mark.scaled
def test_a_month_in_disorder_gives_the_results_of_the_rules(pipeline: Pipeline) -> None:
    file = scaled_file(GREEN)
    pipeline.run("init-db")
    produced = pipeline.produce(file, *DISORDER.split())
    assert produced["trips"] == rows_of(file)
    done = produced["disorder"]
    assert produced["events"] == 5 * produced["trips"] + done["duplicated"] - done["dropped"]
    assert done["late"] > 0.007 * produced["events"]
    summary = pipeline.assemble("--workers", 2)

    model = Model()
    model.read(pipeline.events())
    expected = dict.fromkeys(summary, 0) | {"events": produced["events"]} | dict(model.account)
    assert summary | {"seconds": 0} == expected
    assert revisions(pipeline.topics.read(pipeline.complete)) == model.complete
    assert revisions(pipeline.topics.read(pipeline.incomplete)) == model.incomplete
    assert len(pipeline.topics.read(f"{pipeline.topic}.late")) == summary["late"]

    assert dict(pipeline.query("select trip_key, revision from stg.complete_trip")) == model.complete
    rows = pipeline.query("select trip_key, revision, completed from stg.incomplete_trip")
    assert {key: bool(completed) for key, _, completed in rows} == {
        key: key in model.complete for key in model.incomplete
    }
    (left,) = pipeline.query("select count(*) from stg.still_incomplete_trip")
    assert left[0] == len(model.incomplete.keys() - model.complete.keys())


SHORT: Changes = {
    "CHILLFLOW_TRIP_TIMEOUT": "20min",
    "CHILLFLOW_CORRECTION_HORIZON": "10min",
    "CHILLFLOW_INCOMPLETE_HORIZON": "1h",
}
"""With these, two hours of events lead to incomplete and completed trips, corrections, dropped states, late events."""


@pytest.fixture
def without_tables(request: pytest.FixtureRequest) -> Pipeline:
    """A pipeline without a database."""
    chosen: Pipeline = request.getfixturevalue(request.param)
    chosen.environment.pop("DATABASE_URL", None)
    return chosen


@pytest.mark.parametrize(
    ("without_tables", "partitions"),
    [
        ("embedded", 1),
        pytest.param("embedded", 4, marks=pytest.mark.long),
        ("embedded", 12),
        pytest.param("on_kafka", 1, marks=[pytest.mark.kafka, pytest.mark.long]),
        pytest.param("on_kafka", 4, marks=pytest.mark.kafka),
        pytest.param("on_kafka", 12, marks=[pytest.mark.kafka, pytest.mark.long]),
    ],
    indirect=["without_tables"],
)
def test_the_same_log_gives_the_same_results(without_tables: Pipeline, partitions: int) -> None:
    pipeline, some = without_tables, without_tables.folder / "some.parquet"
    trips = pl.read_parquet(scaled_file(YELLOW))
    trips.gather_every(max(1, trips.height // 3_000)).write_parquet(some)
    pipeline.environment["CHILLFLOW_PARTITIONS"] = str(partitions)
    disorder = ["--shuffle-seconds=600", "--duplicates=0.05", "--drop=0.03", "--late=0.02", "--seed=5"]
    pipeline.run("create-topic")

    def outputs(name: str) -> Changes:
        return {
            "CHILLFLOW_RECOVERY_DIR": str(pipeline.folder / name),
            "CHILLFLOW_COMPLETE_TOPIC": f"{pipeline.complete}-{name}",
            "CHILLFLOW_INCOMPLETE_TOPIC": f"{pipeline.incomplete}-{name}",
            "CHILLFLOW_WINDOWS_TOPIC": f"{pipeline.windows}-{name}",
            **SHORT,
        }

    events = pipeline.produce(some, "--limit=1500", *disorder, **SHORT)["events"]
    with pipeline.start("assemble", "--workers=2", **outputs("resumed")) as running:
        running.wait_for((pipeline.folder / "resumed" / "account.json").exists)
        running.stop()
    with pipeline.start("assemble", **outputs("fed")) as running:  # reads while events are still produced
        running.wait_for((pipeline.folder / "fed" / "account.json").exists)
        events += pipeline.produce(some, "--rate=5000", *disorder, **SHORT)["events"]
        running.stop()

    runs: dict[str, tuple[JsonObject, Values, Values, dict[bytes | None, bytes | None]]] = {}
    topics = (pipeline.complete, pipeline.incomplete)
    for workers, name in enumerate(("fed", "whole", "resumed"), 1):
        summary = pipeline.assemble("--workers", workers, "--close-all", **outputs(name))
        assert summary["events"] == events
        complete, incomplete = (per_key(pipeline.topics.read(f"{topic}-{name}")) for topic in topics)
        windows = {message.key: message.value for message in pipeline.topics.read(f"{pipeline.windows}-{name}")}
        runs[name] = (summary | {"seconds": 0}, complete, incomplete, windows)
    assert runs["fed"] == runs["whole"] == runs["resumed"]
    assert min(summary[term] for term in ("late", "incomplete_trips", "duplicates", "events_in_complete")) > 50
    assert runs["fed"][2].keys() & runs["fed"][1].keys()  # incomplete trips that were completed
    assert len(pipeline.topics.read(f"{pipeline.topic}.late")) == summary["late"]


def test_one_wrong_date_affects_no_other_trip(embedded: Pipeline, trips_file: Path) -> None:
    embedded.produce(trips_file)
    first = embedded.events()[0]
    wrong = {**first.json, "trip_key": "wrong", "event_time": "2099-05-01T00:00:00Z", "event_id": "wrong"}
    embedded.topics.send(
        embedded.topic, b"wrong", json.dumps(wrong).encode(), timestamp=4_081_276_800_000, partition=first.partition
    )
    embedded.produce(trips_file, "--limit", 100)  # duplicates, which the watermark must not make late
    summary = embedded.assemble(DATABASE_URL=None)
    assert (summary["complete_trips"], summary["open_trips"], summary["late"]) == (300, 1, 0)
    assert summary["duplicates"] == 500


def test_rows_of_2009_among_others_become_complete_trips(embedded: Pipeline, tmp_path: Path) -> None:
    embedded.run("generate", "--trips", 2_000, "--out", tmp_path / "t.parquet")
    wrong = pl.int_range(pl.len()).is_in([0, 700, 1_900])  # TLC's files have such rows
    times = pl.col("^tpep_.*_datetime$")
    trips = pl.read_parquet(tmp_path / "t.parquet")
    trips.with_columns(pl.when(wrong).then(times.dt.offset_by("-15y")).otherwise(times)).write_parquet(tmp_path / "o")
    produced = embedded.produce(tmp_path / "o")
    assert min(message.timestamp or 0 for message in embedded.events()) < 1_300_000_000_000
    summary = embedded.assemble(DATABASE_URL=None)
    assert (summary["complete_trips"], summary["incomplete_trips"]) == (produced["trips"], 0)
