"""Older data after newer data in one topic: the events are late, and everything that describes the run says so."""

from __future__ import annotations

import json

import pytest

from chillflow.telemetry.late_share import CAUSES, LIMIT, describe, warning
from tests.integration.monitoring import Seen, get, is_ready, url_of
from tests.pipelines.pipeline import Pipeline
from tests.real_trips import GREEN, SAMPLES, YELLOW

TRIPS = 400
"""Trips of each file."""
EVENTS = 5 * TRIPS
NEWER, OLDER = SAMPLES / YELLOW, SAMPLES / GREEN
"""January 2025 and January 2024."""


@pytest.fixture
def without_tables(embedded: Pipeline) -> Pipeline:
    del embedded.environment["DATABASE_URL"]
    return embedded


def produce(pipeline: Pipeline, *files: object) -> None:
    for file in files:
        pipeline.run("produce-from-file", "--file", file, "--limit", TRIPS)


@pytest.mark.parametrize("workers", [1, 2])
def test_older_data_after_newer_data_is_an_alarm(without_tables: Pipeline, workers: int) -> None:
    pipeline = without_tables
    produce(pipeline, NEWER, OLDER)

    done = pipeline.run("assemble", "--exit-at-end", "--json", "--workers", workers)

    assert done.account["late"] == done.account["events_in_complete"] == EVENTS
    assert done.json["late_share"] == 0.5
    start = f"WRONG: late events: {EVENTS:,} in all, {describe(0.5)}"
    assert done.stderr.splitlines()[-4:] == [start, *(f"- {cause}" for cause in CAUSES)]

    found = pipeline.run("doctor", "--json", code=1).json["findings"]
    assert [each for each in found if each["status"] == "wrong"] == [
        {"check": "late events", "status": "wrong", "found": describe(0.5), "advice": "\n".join(CAUSES)}
    ]
    shown = pipeline.run("doctor", code=1).lines
    assert shown[-4:] == [f"WRONG   late events: {describe(0.5)}", *(f"        -> {cause}" for cause in CAUSES)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_with_late_events_is_ready_and_says_what_is_wrong(without_tables: Pipeline, workers: int) -> None:
    pipeline = without_tables
    produce(pipeline, NEWER, OLDER)

    with pipeline.start("assemble", "--workers", workers) as running:
        running.wait_for(lambda: is_ready(url_of(pipeline)) and Seen(url_of(pipeline) or "").total("late_share") == 0.5)
        code, body = get(f"{url_of(pipeline)}/readyz")
        status = pipeline.run("status", "--json").json
        lines = pipeline.run("status").lines
        wrong = [
            each for each in pipeline.run("doctor", "--json", code=1).json["findings"] if each["status"] == "wrong"
        ]
        running.stop()

    assert (code, json.loads(body)["warnings"]) == (200, [warning(0.5)])
    assert (status["ready"], status["warnings"], status["late_share"]) == (True, [warning(0.5)], 0.5)
    assert f"late events WRONG: {describe(0.5)}" in lines
    assert max(map(len, lines)) <= 80
    assert [each["check"] for each in wrong] == ["late events"]


def test_the_alarm_outlives_a_restart_that_reads_nothing(without_tables: Pipeline) -> None:
    produce(without_tables, NEWER, OLDER)
    without_tables.assemble()

    done = without_tables.run("assemble", "--exit-at-end", "--json")

    assert done.json["late_share"] == 0.5
    assert done.stderr.splitlines()[-4].startswith("WRONG: late events: ")
    without_tables.run("doctor", code=1)


def test_the_remedy_is_to_produce_the_oldest_first(without_tables: Pipeline) -> None:
    produce(without_tables, OLDER, NEWER)

    done = without_tables.run("assemble", "--exit-at-end", "--json")

    assert (done.account["late"], done.json["late_share"]) == (0, 0)
    assert done.account["complete_trips"] == 2 * TRIPS
    assert len(done.stderr.splitlines()) == 1
    without_tables.run("doctor")


def test_a_few_late_events_are_counted_but_nothing_is_wrong(without_tables: Pipeline) -> None:
    pipeline = without_tables
    produce(pipeline, NEWER, NEWER, NEWER)
    pipeline.run("produce-from-file", "--file", OLDER, "--limit", 2)

    done = pipeline.run("assemble", "--exit-at-end", "--json")

    late = done.account["late"]
    assert late == 10
    assert done.json["late_share"] == late / (3 * EVENTS + late) < LIMIT
    assert done.stderr.splitlines()[-1] == f"late events: 10 in all, {describe(done.json['late_share'])}"
    pipeline.run("doctor")


def test_the_watermark_shown_is_the_one_that_each_partition_has_reached(without_tables: Pipeline) -> None:
    """Not the event time of its newest messages, which are older here."""
    pipeline = without_tables
    produce(pipeline, NEWER, OLDER)
    largest: dict[int, list[int]] = {}
    for message in pipeline.events():
        largest[message.partition] = sorted([*largest.get(message.partition, ()), message.timestamp or 0])
    reached = {str(partition): times[-20] / 1000 for partition, times in largest.items()}

    with pipeline.start("assemble") as running:
        running.wait_for(lambda: is_ready(url_of(pipeline)) and Seen(url_of(pipeline) or "").total("late_share") > 0)
        samples = Seen(url_of(pipeline) or "").find("watermark_timestamp_seconds")
        partitions = pipeline.run("status", "--json").json["partitions"]
        findings = pipeline.run("doctor", "--json", code=1).json["findings"]
        running.stop()

    assert {labels["partition"]: seconds for labels, seconds in samples} == reached
    assert {str(each["partition"]): each["watermark"] for each in partitions} == reached
    (watermark,) = (each["found"] for each in findings if each["check"] == "watermark")
    assert watermark.startswith("reached: ")
    after = pipeline.run("doctor", "--json", code=1).json["findings"]
    (newest,) = (each["found"] for each in after if each["check"] == "watermark")
    assert newest.startswith("no `assemble` answers; newest events: ")
