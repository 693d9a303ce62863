"""The trip page: the messages of a trip in the log, and its revisions."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from chillflow.connectors import open_log, open_reader
from chillflow.dashboard.server import trip_finder
from chillflow.settings import load
from tests.dashboard.browsing import Dashboard, open_dashboard
from tests.pipelines.pipeline import Pipeline

SCRIPT = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


def rows(dashboard: Dashboard, test: str) -> list[list[str]]:
    """The cells of a table."""
    table = dashboard.at(test)
    expect(table).to_be_visible()
    return [row.locator("td").all_inner_texts() for row in table.locator("tbody tr").all()]


def find(dashboard: Dashboard, key: str) -> None:
    """Enter a key and search."""
    dashboard.at("key").fill(key)
    dashboard.at("find").click()
    expect(dashboard.at("shown-key")).to_have_text(key)


@pytest.mark.parametrize(
    "where", ["embedded", pytest.param("on_servers", marks=[pytest.mark.kafka, pytest.mark.postgres])]
)
def test_the_events_in_arrival_order_and_the_trip(
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

    with open_dashboard(pipeline, page, "trip") as dashboard:
        find(dashboard, twice.key.decode())
        shown = rows(dashboard, "messages")
        assert [row[1] for row in shown] == [f"{each.offset:,}" for each in expected]
        assert [row[2] for row in shown] == [each.json["event_type"] for each in expected]
        assert [row[4].replace(" ", "T") + "Z" for row in shown] == [each.json["event_time"] for each in expected]
        seen = set[bytes]()
        for row, each in zip(shown, expected, strict=True):
            assert row[6] == ("duplicate" if each.value in seen else "counted")
            seen.add(each.value or b"")
        assert f"Partition {twice.partition} of 4, offsets " in dashboard.text("where")
        fields = {row[0]: row[1] for row in rows(dashboard, "revisions")}
        (stored,) = pipeline.query(
            f"select total_amount from stg.complete_trip where trip_key = '{twice.key.decode()}'"
        )
        assert float(fields["total_amount"]) == float(stored[0])


def test_a_correction_is_a_revision_with_its_change_marked(assembled: Pipeline, page: Page) -> None:
    paid = next(each for each in assembled.events() if b"payment_processed" in (each.value or b""))
    corrected = {**paid.json, "event_id": "corrected", "event_version": 1, "total_amount": 99.5}
    assembled.topics.send(
        "trip-events", paid.key, json.dumps(corrected).encode(), timestamp=paid.timestamp, partition=paid.partition
    )
    assembled.assemble()

    with open_dashboard(assembled, page, f"trip?key={paid.key.decode() if paid.key else ''}") as dashboard:
        expect(dashboard.at("shown-key")).to_be_visible()
        assert "6 events, 2 revisions: complete" in page.locator("main").inner_text()
        statuses = [row[6] for row in rows(dashboard, "messages") if row[2] == "payment_processed"]
        assert statuses == ["superseded", "counted"]
        fields = {row[0]: row[1:] for row in rows(dashboard, "revisions")}
        assert fields["total_amount"] == [f"{paid.json['total_amount']}", "99.5 ← changed"]


def test_a_redelivered_event_has_the_status_that_the_account_gives_it(assembled: Pipeline) -> None:
    settings = load(kafka_bootstrap_servers=assembled.address, database_url=assembled.database)
    paid = next(each for each in assembled.events() if b"payment_processed" in (each.value or b""))
    corrected = json.dumps({**paid.json, "event_id": "corrected", "event_version": 1}).encode()
    assert paid.key
    for value in (corrected, corrected, paid.value):
        assembled.topics.send("trip-events", paid.key, value, timestamp=paid.timestamp, partition=paid.partition)
    account = assembled.assemble()

    reader = open_reader(settings)
    found = trip_finder(settings, open_log(settings), reader).find(paid.key.decode())
    reader.close()

    payments = [each.outcome for each in found.messages if each.event_type == "payment_processed"]
    assert payments == ["superseded", "counted", "duplicate", "superseded"]
    assert [account[name] for name in ("superseded", "duplicates")] == [2, 1]


def test_markup_in_a_trip_is_shown_as_text(assembled: Pipeline, page: Page) -> None:
    started = next(each for each in assembled.events() if b"trip_started" in (each.value or b""))
    key = f"{SCRIPT} {{{{ 7 * 7 }}}}"
    for kind in ("trip_started", "payment_processed", "trip_ended"):
        original = next(each for each in assembled.events() if each.json["event_type"] == kind)
        event: dict[str, object] = {
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

    with open_dashboard(assembled, page, "trip") as dashboard:
        find(dashboard, key)
        cells = [cell for row in rows(dashboard, "messages") for cell in row]
        assert any(SCRIPT in cell for cell in cells)
        fields = {row[0]: row[1] for row in rows(dashboard, "revisions")}
        assert fields["store_and_fwd_flag"] == SCRIPT
        assert SCRIPT in fields["extra_columns"]
        dashboard.at("letters").click()
        page.wait_for_timeout(500)
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img").count() == 0


def test_an_unknown_trip_shows_the_offsets_that_were_read(assembled: Pipeline, page: Page) -> None:
    with open_dashboard(assembled, page, "trip") as dashboard:
        find(dashboard, "nobody")
        assert "No events found" in page.locator("main").inner_text()
        assert "no table knows the trip" in dashboard.text("where")
        assert " messages read" in dashboard.text("where")


def test_a_search_reads_only_the_partition_of_the_key_and_stops_at_the_limit(assembled: Pipeline) -> None:
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

    finder = trip_finder(settings, log, reader)
    found = finder.find(late.key.decode())
    cut = replace(finder, limit=7).find(late.key.decode())

    reader.close()
    assert len(found.messages) == 5
    assert 0 < found.read < size
    assert found.first > 0
    assert not found.cut
    assert (cut.read, cut.cut, cut.first) == (7, True, found.first)


def test_a_message_dated_far_ahead_hides_nothing(assembled: Pipeline) -> None:
    """One date far ahead does not move the watermark past the trip."""
    settings = load(kafka_bootstrap_servers=assembled.address, database_url=assembled.database)
    some = assembled.events()[2000]
    assert some.key
    path = assembled.folder / "topics" / "trip-events" / f"{some.partition:04}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    ahead = json.dumps({**json.loads(lines[0]), "ts": 1893456000000}) + "\n"
    path.write_text("".join([ahead, *lines]))

    reader = open_reader(settings)
    found = trip_finder(settings, open_log(settings), reader).find(some.key.decode())
    reader.close()

    assert len(found.messages) == 5
