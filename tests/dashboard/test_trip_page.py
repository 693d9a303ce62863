"""The view of a trip: its events as they lie in the log, and what was made of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from chillflow.connectors import open_log
from chillflow.dashboard import trip
from chillflow.dashboard.database import open_reader
from chillflow.settings import load
from tests.dashboard.looking import Looked, looking
from tests.integration.cli import Pipeline

SCRIPT = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


def rows(looked: Looked, test: str) -> list[list[str]]:
    """The cells of a table."""
    table = looked.at(test)
    expect(table).to_be_visible()
    return [row.locator("td").all_inner_texts() for row in table.locator("tbody tr").all()]


def find(looked: Looked, key: str) -> None:
    """Paste a key and look for it."""
    looked.at("key").fill(key)
    looked.at("find").click()
    expect(looked.at("shown-key")).to_have_text(key)


@pytest.mark.parametrize(
    "where", ["embedded", pytest.param("on_servers", marks=[pytest.mark.kafka, pytest.mark.postgres])]
)
def test_its_events_as_they_came_and_the_trip(
    request: pytest.FixtureRequest, where: str, page: Page, day_of_trips: Path
) -> None:
    pipeline: Pipeline = request.getfixturevalue(where)
    pipeline.run("init-db")
    pipeline.produce(day_of_trips, "--shuffle-seconds", 1800, "--duplicates", 0.2)
    pipeline.assemble()
    events = pipeline.events()
    times = Counter(each.value for each in events)
    twice = [each for each in events if times[each.value] > 1][5]
    expected = [each for each in events if each.key == twice.key]
    assert twice.key

    with looking(pipeline, page, "trip") as looked:
        find(looked, twice.key.decode())
        shown = rows(looked, "came")
        assert [row[1] for row in shown] == [f"{each.offset:,}" for each in expected]
        assert [row[2] for row in shown] == [each.json["event_type"] for each in expected]
        assert [row[4].replace(" ", "T") + "Z" for row in shown] == [each.json["event_time"] for each in expected]
        seen = set[bytes]()
        for row, each in zip(shown, expected, strict=True):
            assert row[6] == ("the same again" if each.value in seen else "counts")
            seen.add(each.value or b"")
        assert f"Partition {twice.partition} of 4, offsets " in looked.text("where")
        fields = {row[0]: row[1] for row in rows(looked, "revisions")}
        (stored,) = pipeline.query(
            f"select total_amount from stg.complete_trip where trip_key = '{twice.key.decode()}'"
        )
        assert float(fields["total_amount"]) == float(stored[0])


def test_a_correction_is_a_revision_with_what_it_changed(assembled: Pipeline, page: Page) -> None:
    paid = next(each for each in assembled.events() if b"payment_processed" in (each.value or b""))
    corrected = {**paid.json, "event_id": "corrected", "event_version": 1, "total_amount": 99.5}
    assembled.topics.send(
        "trip-events", paid.key, json.dumps(corrected).encode(), timestamp=paid.timestamp, partition=paid.partition
    )
    assembled.assemble()

    with looking(assembled, page, f"trip?key={paid.key.decode() if paid.key else ''}") as looked:
        expect(looked.at("shown-key")).to_be_visible()
        assert "6 events, 2 revisions: complete" in page.locator("main").inner_text()
        roles = [row[6] for row in rows(looked, "came") if row[2] == "payment_processed"]
        assert roles == ["superseded", "counts"]
        fields = {row[0]: row[1:] for row in rows(looked, "revisions")}
        assert fields["total_amount"] == [f"{paid.json['total_amount']}", "99.5 ← changed"]


def test_what_somebody_wrote_into_a_trip_is_shown_as_text(assembled: Pipeline, page: Page) -> None:
    started = next(each for each in assembled.events() if b"trip_started" in (each.value or b""))
    key = f"{SCRIPT} {{{{ 7 * 7 }}}}"
    for kind in ("trip_started", "payment_processed", "trip_ended"):
        original = next(each for each in assembled.events() if each.json["event_type"] == kind)
        event: dict[str, Any] = {
            **original.json,
            "trip_key": key,
            "event_id": kind,
            "event_time": started.json["event_time"],
        }
        if kind == "trip_started":
            event["store_and_fwd_flag"] = SCRIPT
        if kind == "trip_ended":
            event["extra_columns"] = {SCRIPT: SCRIPT}
        number = open_log(load(kafka_bootstrap_servers=assembled.address)).partition_of(key.encode(), 4)
        assembled.topics.send(
            "trip-events", key.encode(), json.dumps(event).encode(), timestamp=started.timestamp, partition=number
        )
    assembled.topics.send("trip-events", b"k", SCRIPT.encode(), timestamp=started.timestamp)
    assembled.assemble()

    with looking(assembled, page, "trip") as looked:
        find(looked, key)
        cells = [cell for row in rows(looked, "came") for cell in row]
        assert any(SCRIPT in cell for cell in cells)
        fields = {row[0]: row[1] for row in rows(looked, "revisions")}
        assert fields["store_and_fwd_flag"] == SCRIPT
        assert SCRIPT in fields["extra_columns"]
        looked.at("letters").click()
        page.wait_for_timeout(500)
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img").count() == 0


def test_a_trip_that_nobody_knows_says_where_it_was_looked_for(assembled: Pipeline, page: Page) -> None:
    with looking(assembled, page, "trip") as looked:
        find(looked, "nobody")
        assert "No events were found" in page.locator("main").inner_text()
        assert "no table knows the trip" in looked.text("where")
        assert " messages read" in looked.text("where")


def test_it_reads_only_the_partition_of_the_key_and_no_more_than_the_limit(assembled: Pipeline) -> None:
    settings = load(kafka_bootstrap_servers=assembled.address, database_url=assembled.database)
    log, reader = open_log(settings), open_reader(settings)
    late = max(assembled.events(), key=lambda each: each.timestamp or 0)
    size = sum(each.partition == late.partition for each in assembled.events())
    assert late.key
    for number in range(4):
        if number != late.partition:
            (assembled.folder / "topics" / "trip-events" / f"{number:04}.jsonl").write_text(
                "what is no line of a log\n"
            )

    found = trip.look_up(log, reader, settings, late.key.decode())
    cut = trip.look_up(log, reader, settings, late.key.decode(), limit=7)

    reader.close()
    assert len(found.events) == 5
    assert 0 < found.read < size
    assert found.first > 0
    assert not found.cut
    assert (cut.read, cut.cut, cut.first) == (7, True, found.first)


def test_one_message_with_a_wrong_date_hides_nothing(assembled: Pipeline) -> None:
    """A date far ahead, before the trip: the stream has not passed the trip's time for that."""
    settings = load(kafka_bootstrap_servers=assembled.address, database_url=assembled.database)
    some = assembled.events()[2000]
    assert some.key
    path = assembled.folder / "topics" / "trip-events" / f"{some.partition:04}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    ahead = json.dumps({**json.loads(lines[0]), "ts": 1893456000000}) + "\n"
    path.write_text("".join([ahead, *lines]))

    reader = open_reader(settings)
    found = trip.look_up(open_log(settings), reader, settings, some.key.decode())
    reader.close()

    assert len(found.events) == 5
