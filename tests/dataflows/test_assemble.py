"""The whole dataflow `trip-assembler` between testing ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bytewax.testing import TestingSink, TestingSource, run_main

from chillflow.assembly.account import difference
from chillflow.connectors.filelog import FileLog
from chillflow.connectors.sink import ExactlyOnceSink
from chillflow.keyed.batches import Batch, GroupBatch
from chillflow.model.codec import decode_value
from chillflow.model.events import DecodedEvent
from chillflow.model.messages import Message
from chillflow.model.table_rows import COMPLETE_TRIP, Retire, Rows
from chillflow.model.topics import registry, result_topics
from chillflow.running.run import Run as RunOfAssembly
from dataflows.assemble import build
from tests.dataflows.conftest import Run
from tests.dataflows.vocabulary import PARTITIONS, batches, in_order, settings, trip
from tests.unit.vocabulary import batch

COUNT = 200


class Ends:
    """What came out of the flow."""

    def __init__(self) -> None:
        self.topics: list[tuple[str, Sequence[Message]]] = []
        self.tables: list[tuple[str, Rows | Retire]] = []
        self.accounts: list[tuple[str, dict[str, int]]] = []

    def flow(self, source: list[Any], *, close_all: bool = False, **changes: object) -> Any:
        return build(
            TestingSource(source),
            TestingSink(self.topics),
            TestingSink(self.tables),
            TestingSink(self.accounts),
            settings(**changes),
            PARTITIONS,
            RunOfAssembly(close_all=close_all),
        )

    def values(self, topic: str) -> list[dict[str, Any]]:
        return [
            decode_value(message.value or b"null")
            for _, messages in self.topics
            for message in messages
            if message.topic == topic
        ]

    @property
    def keys(self) -> list[str]:
        """The keys of the complete trips."""
        return sorted(value["trip_key"] for value in self.values("complete-trips"))

    @property
    def rows(self) -> list[str]:
        upserts = [rows for _, rows in self.tables if isinstance(rows, dict)]
        return sorted(str(row[0]) for rows in upserts for row in rows.get(COMPLETE_TRIP, ()))

    @property
    def account(self) -> dict[str, int]:
        return self.accounts[-1][1]


@pytest.fixture
def trips() -> list[Any]:
    return [trip(number) for number in range(COUNT)]


def test_every_trip_goes_to_the_topic_and_the_table(run: Run, trips: list[Any]) -> None:
    ends = Ends()

    run(ends.flow(batches(in_order(trips))))

    expected = sorted(each.trip_key for each in trips)
    assert ends.keys == ends.rows == expected
    assert ends.account["complete_trips"] == COUNT
    assert ends.account["events"] == ends.account["events_in_complete"] == 5 * COUNT
    assert difference(ends.account) == 0


def test_results_keep_the_partition_of_their_events(run: Run, trips: list[Any]) -> None:
    ends = Ends()

    run(ends.flow(batches(in_order(trips))))

    for partition, messages in ends.topics:
        for message in messages:
            if message.topic == "zone-windows":
                continue
            assert message.key is not None
            assert int(partition) == sum(message.key) % PARTITIONS


def test_only_a_log_that_has_ended_closes_trips(run: Run, trips: list[Any]) -> None:
    events = [
        event for event in in_order(trips) if event.event_type != "payment_processed" or event.trip_key > "trip-5"
    ]
    lacking = len({each.trip_key for each in trips if each.trip_key <= "trip-5"})
    left, closed = Ends(), Ends()

    run(left.flow(batches(events)))
    run(closed.flow(batches(events), close_all=True))

    assert left.account["open_trips"] == lacking
    assert left.values("incomplete-trips") == []
    assert closed.account["incomplete_trips"] == lacking
    assert closed.account["open_trips"] == 0
    assert {tuple(value["missing"]) for value in closed.values("incomplete-trips")} == {("payment_processed",)}
    assert len(closed.values("incomplete-trips")) == lacking
    assert left.keys == closed.keys
    assert difference(left.account) == difference(closed.account) == 0


@pytest.mark.parametrize("where", [0.2, 0.5, 0.9])
def test_a_crash_changes_no_result(resume: Run, trips: list[Any], where: float) -> None:
    """Bytewax's testing sinks may repeat what the last epoch wrote; they never lack or change it."""
    steps: list[GroupBatch[DecodedEvent] | TestingSource.ABORT] = [*batches(in_order(trips))]
    undisturbed, ends = Ends(), Ends()
    resume_free = [*steps]
    steps.insert(round(where * len(steps)), TestingSource.ABORT())

    resume(ends.flow(steps))
    assert len(ends.keys) < COUNT
    resume(ends.flow(steps))

    run_main(undisturbed.flow(resume_free), epoch_interval=timedelta(0))
    once = {json.dumps(value, sort_keys=True) for value in ends.values("complete-trips")}
    assert once == {json.dumps(value, sort_keys=True) for value in undisturbed.values("complete-trips")}
    assert len(once) == COUNT
    assert ends.account == undisturbed.account


@pytest.mark.parametrize("crashes", [1, 5])
def test_after_crashes_each_result_is_in_its_topic_once(
    resume: Run, trips: list[Any], tmp_path: Path, crashes: int
) -> None:
    chosen = settings()
    log = FileLog(tmp_path / "topics")
    log.ensure_topics([*registry(chosen).values()], PARTITIONS, 1)
    specs = result_topics(chosen)
    steps: list[GroupBatch[DecodedEvent] | TestingSource.ABORT] = [*batches(in_order(trips))]
    for number in range(crashes):
        steps.insert((number + 1) * len(steps) // (crashes + 1), TestingSource.ABORT())
    ends = Ends()

    for _ in range(crashes + 1):
        sink = ExactlyOnceSink(log, "trip-assembler", PARTITIONS, specs)
        resume(
            build(TestingSource(steps), sink, TestingSink(ends.tables), TestingSink(ends.accounts), chosen, PARTITIONS)
        )

    found = []
    for number in range(PARTITIONS):
        reader = log.reader(chosen.complete_topic, number, None, group=None)
        while records := reader.read(1000):
            found += [record.key for record in records]
        reader.close()
    assert sorted(found) == sorted(each.trip_key.encode() for each in trips)  # type: ignore[type-var]
    assert ends.account["complete_trips"] == COUNT
    assert difference(ends.account) == 0


def test_what_is_no_event_is_a_dead_letter(run: Run, trips: list[Any]) -> None:
    steps = batches(in_order(trips))
    group, some = steps[7]
    assert isinstance(some, Batch)
    bad = some.records.record(0)._replace(value=b"not an event")
    ends = Ends()

    run(ends.flow([*steps, (group, batch([bad], some.watermarks[:1]))]))

    (letter,) = (message for _, messages in ends.topics for message in messages if message.topic == "trip-events.dlq")
    assert letter.value == b"not an event"
    assert dict(letter.headers)["offset"] == str(bad.offset).encode()
    assert ends.account["dead_letters"] == 1
    assert difference(ends.account) == 0
    assert len(ends.keys) == COUNT
