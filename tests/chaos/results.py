"""Compares the results of a disturbed pipeline with those of an undisturbed run."""

from __future__ import annotations

import json
from collections import Counter

from polars.testing import assert_frame_equal

from tests.integration import windows
from tests.pipelines.pipeline import Pipeline
from tests.pipelines.topics import JsonObject

DISORDER = ["--shuffle-seconds", "3600", "--duplicates", "0.05", "--drop", "0.01", "--late", "0.01", "--seed", "3"]


def undisturbed(pipeline: Pipeline) -> JsonObject:
    """The summary of a run over the whole topic, with its own recovery store and result topics.

    Late events and dead letters go to the topics of the disturbed run, where they are already written.
    """
    return pipeline.assemble(
        DATABASE_URL=None,
        CHILLFLOW_RECOVERY_DIR=str(pipeline.folder / "undisturbed"),
        CHILLFLOW_COMPLETE_TOPIC=f"{pipeline.complete}-undisturbed",
        CHILLFLOW_INCOMPLETE_TOPIC=f"{pipeline.incomplete}-undisturbed",
        CHILLFLOW_WINDOWS_TOPIC=f"{pipeline.windows}-undisturbed",
    )


def assert_undisturbed(pipeline: Pipeline, summary: JsonObject, expected: JsonObject) -> None:
    """Assert that results are those of the undisturbed run, each once, and that tables and windows are exact."""
    assert {**summary, "seconds": 0} == {**expected, "seconds": 0}
    for topic in (pipeline.complete, pipeline.incomplete):
        wanted = Counter((each.key, each.value) for each in pipeline.topics.read(f"{topic}-undisturbed"))
        found = Counter((each.key, each.value) for each in pipeline.topics.read(topic))
        assert found == wanted
        assert max(found.values()) == 1
    assert len(pipeline.topics.read(f"{pipeline.topic}.late")) == summary["late"]
    _assert_tables_hold_the_last_revisions(pipeline)
    exact = windows.expected(pipeline.trips())
    assert_frame_equal(windows.in_topic(pipeline), exact)
    assert_frame_equal(windows.in_table(pipeline), exact)


def _assert_tables_hold_the_last_revisions(pipeline: Pipeline) -> None:
    last: dict[str, int] = {}
    for trip in pipeline.trips():
        last[trip["trip_key"]] = max(trip["revision"], last.get(trip["trip_key"], 0))
    assert dict(pipeline.query("select trip_key, revision from stg.complete_trip")) == last
    incomplete = {json.loads(each.value or b"")["trip_key"] for each in pipeline.topics.read(pipeline.incomplete)}
    table = dict(pipeline.query("select trip_key, completed from stg.incomplete_trip"))
    assert table.keys() == incomplete
    assert {key for key, completed in table.items() if completed} == incomplete & last.keys()
