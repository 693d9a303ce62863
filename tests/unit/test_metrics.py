"""The metrics: their names, their page, and their values."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from chillflow.assembly.account import difference, read_account
from chillflow.assembly.tallies import ACCOUNT
from chillflow.connectors.account_file import AccountFile, read_late_share
from chillflow.errors import ChillFlowError
from chillflow.keyed.batches import Undecodable
from chillflow.model.codec import decode_keyed
from chillflow.model.events import TripEndedEvent, TripStartedEvent
from chillflow.model.messages import dead_letter
from chillflow.model.table_rows import refusal
from chillflow.telemetry import Telemetry
from chillflow.telemetry.clocks import Clocks
from chillflow.telemetry.histogram import BatchHistogram
from chillflow.telemetry.metrics import Metrics
from chillflow.telemetry.reasons import REASONS, kind_of_reason
from tests.unit.fake_clock import FakeClock
from tests.unit.vocabulary import trip

PAGE = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "make_metrics.py"))


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.metrics.registry.get_sample_value(name, labels)


def test_the_page_of_metrics_is_up_to_date() -> None:
    assert PAGE["PAGE"].read_text() == PAGE["page"](), "run python docs/make_metrics.py"


@pytest.mark.parametrize("metric", Metrics().described, ids=lambda metric: metric.name)
def test_names_and_units_follow_the_conventions(metric: Any) -> None:
    assert re.fullmatch(r"chillflow_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not re.search(r"_(ms|millis\w*|minutes|kb|mb)(_|$)", metric.name), "seconds and bytes"
    assert metric.kind != "histogram" or metric.name.endswith(("_seconds", "_records"))
    assert metric.meaning.endswith(".")
    assert {"le", "job", "instance"}.isdisjoint(metric.labels)


def test_each_series_has_the_label_worker() -> None:
    samples = [sample for family in Metrics().families("7") for sample in family.samples]
    assert samples
    assert {sample.labels["worker"] for sample in samples} == {"7"}
    assert not [sample for sample in samples if sample.name.endswith("_created")]


# Histograms


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 4))))
def test_a_batch_histogram_equals_one_of_single_observations(batches: list[tuple[float, int]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    batch = BatchHistogram("h", "text", registry=ours, buckets=(0.5, 1.0, 10.0))
    single = Histogram("h", "text", registry=theirs, buckets=(0.5, 1.0, 10.0))
    for seconds, times in batches:
        batch.observe(seconds, times)
        for _ in range(times):
            single.observe(seconds)

    def lines(registry: CollectorRegistry) -> dict[str, Any]:
        text = generate_latest(registry).decode()
        found = (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#" and "_created" not in line)
        return {name: pytest.approx(float(number)) for name, number in found}

    assert lines(ours) == lines(theirs)


# Dead letters


@given(st.binary() | st.text().map(str.encode) | st.recursive(st.integers(), st.lists).map(lambda x: str(x).encode()))
def test_every_decode_error_has_a_kind(content: bytes) -> None:
    with pytest.raises(ValueError) as error:
        decode_keyed(b"t", content)
    assert kind_of_reason("decode", str(error.value)) != "other"


GOOD = (
    b'{"event_id":"x","event_type":"zone_exited","trip_key":"t","event_time":"2024-01-01T00:00:00Z",'
    b'"schema_version":1,"pickup_ts":"2024-01-01T00:00:00Z","pu_zone_id":1}'
)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "tombstone"),
        (b"", "no_json"),
        (b"\xff", "no_json"),
        (b"[]", "no_json"),
        (b"[" * 5000, "no_json"),
        (b'"\xed\xa0\x80"', "no_json"),
        (b"{}", "unknown_type"),
        (GOOD.replace(b"zone_exited", b"zone_imagined"), "unknown_type"),
        (GOOD.replace(b'version":1', b'version":2'), "schema_version"),
        (GOOD.replace(b'"pu_zone_id":1', b'"pu_zone_id":"one"'), "field"),
        (GOOD.replace(b'"trip_key":"t",', b""), "field"),
        (GOOD.replace(b'"trip_key":"t"', b'"trip_key":"other"'), "wrong_key"),
    ],
)
def test_kinds_of_decode_errors(value: bytes | None, kind: str) -> None:
    with pytest.raises(ValueError) as error:
        decode_keyed(b"t", value)
    assert kind_of_reason("decode", str(error.value)) == kind
    assert ("decode", kind) in REASONS


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"trip_key": "k" * 3000}, "key_too_long"),
        ({"trip_key": "k\0"}, "nul"),
        ({"fare_amount": 1e9}, "amount"),
    ],
)
def test_kinds_of_write_refusals(fields: dict[str, Any], kind: str) -> None:
    assert kind_of_reason("write", refusal(trip(**fields)) or "") == kind
    assert ("write", kind) in REASONS


def test_an_unknown_reason_is_other_and_there_are_few_kinds() -> None:
    assert kind_of_reason("decode", "x") == kind_of_reason("write", "") == kind_of_reason("else", "x") == "other"
    assert len(REASONS) <= 20


def test_dead_letters_are_counted_despite_foreign_headers(telemetry: Telemetry) -> None:
    letter = dead_letter(
        *("dlq", "decode", "no message key"),
        key=None,
        value=b"\xff",
        headers=(("stage", b"theirs"), ("trace", b"\xff\xfe"), ("null", None)),  # type: ignore[arg-type]
        topic="t",
        partition=1,
        offset=3,
    )
    telemetry.dead_letters([letter] * 3)
    assert value(telemetry, "chillflow_dead_letters_total", stage="decode", reason="no_key") == 3


# The account


def accounts(**counts: int) -> dict[str, int]:
    return dict.fromkeys(ACCOUNT, 0) | counts


def test_the_account_is_published_as_a_whole(telemetry: Telemetry) -> None:
    def show(account: dict[str, int]) -> None:
        telemetry.publish_account(account, difference(account), None)

    show(accounts(events=7, events_in_open=4, duplicates=2, open_trips=1))
    assert value(telemetry, "chillflow_account_read_events_total") == 7
    assert value(telemetry, "chillflow_account_difference_events") == 1
    assert value(telemetry, "chillflow_account_trips", state="open") == 1
    show(accounts(events=9, events_in_complete=5, duplicates=4, complete_trips=1))
    assert value(telemetry, "chillflow_account_read_events_total") == 9
    assert value(telemetry, "chillflow_account_difference_events") == 0
    assert value(telemetry, "chillflow_account_trips", state="open") == 0
    outcomes = {name.removeprefix("events_in_") for name in ACCOUNT if not name.endswith("_trips")} - {"events"}
    assert sum(value(telemetry, "chillflow_account_events", outcome=outcome) or 0 for outcome in outcomes) == 9


def test_a_resumed_run_starts_with_the_durable_account(tmp_path: Path) -> None:
    """Also where a crash has left the account of an epoch that did not become durable."""
    path = tmp_path / "account.json"
    sink = AccountFile(path)
    part = sink.build_part("write", "account", None)
    part.write_batch([accounts(events=5, late=5)])
    durable = part.snapshot()
    part.write_batch([accounts(events=8, late=8)])
    part.snapshot()

    sink.build_part("write", "account", durable)
    assert read_account(path)["late"] == 5
    assert difference(durable or {}) == 0


def test_the_late_share_is_absent_until_there_are_events(telemetry: Telemetry) -> None:
    telemetry.publish_account(accounts(), 0, None)
    assert value(telemetry, "chillflow_late_share") is None
    telemetry.publish_account(accounts(events=4, late=1), 0, 0.25)
    assert value(telemetry, "chillflow_late_share") == telemetry.late_share == 0.25


def test_a_resumed_run_continues_the_window_of_the_late_share(tmp_path: Path) -> None:
    """But not with the totals of an epoch that did not become durable."""
    path, clock = tmp_path / "account.json", FakeClock()
    assert read_late_share(path) is None
    part = AccountFile(path, clock.clocks).build_part("write", "account", None)
    states = []
    for events, late in ((100, 1), (200, 41), (900, 741)):
        clock.now += 10
        part.write_batch([accounts(events=events, late=late, events_in_open=events - late)])
        states.append(part.snapshot())
    assert read_late_share(path) == 741 / 900

    resumed = AccountFile(path, clock.clocks).build_part("write", "account", states[1])
    assert read_late_share(path) == 41 / 200
    resumed.write_batch([accounts(events=300, late=42, events_in_open=258)])
    resumed.snapshot()
    assert read_late_share(path) == 42 / 300
    assert read_account(path).keys() == {*ACCOUNT}

    path.unlink()
    without_file = AccountFile(path, clock.clocks).build_part("write", "account", states[1])
    assert read_late_share(path) is None, "what was read before is not in a new window"
    without_file.write_batch([accounts(events=300, late=41, events_in_open=259)])
    without_file.snapshot()
    assert read_late_share(path) == 0

    AccountFile(path, clock.clocks).build_part("write", "account", None).snapshot()
    assert read_late_share(path) is None, "a new store has read nothing"


def test_rejected_candidates_are_counted_by_partition(telemetry: Telemetry) -> None:
    readings = [telemetry.opened(number, 0, 0) for number in (0, 1)]
    readings[1].candidates_rejected(3)
    readings[1].candidates_rejected(2)
    found = [value(telemetry, "chillflow_watermark_candidates_total", partition=str(number)) for number in (0, 1)]
    assert found == [0, 5]


def test_events_by_type_follow_the_counts(telemetry: Telemetry) -> None:
    telemetry.expect_events({TripStartedEvent: "trip_started", TripEndedEvent: "trip_ended"})
    for _ in range(3):
        telemetry.decoded.update({TripEndedEvent: 2, Undecodable: 1})
        telemetry.publish_events()
    counts = [value(telemetry, "chillflow_events_total", event_type=each) for each in ("trip_started", "trip_ended")]
    assert counts == [0, 6]


# Epochs


def test_an_epoch_of_several_partitions_counts_once(telemetry: Telemetry) -> None:
    epochs = telemetry.epochs
    for _ in range(2):
        for _ in range(3):
            epochs.snapshot()
        for _ in range(3):
            epochs.durable()
    assert value(telemetry, "chillflow_epoch_commit_seconds_count") == 2
    assert value(telemetry, "chillflow_epoch_duration_seconds_count") == 1
    assert epochs.last is not None


def test_durations_and_age_of_epochs_use_the_monotonic_clock() -> None:
    wall, monotonic = [1_000.0], [5.0]
    telemetry = Telemetry(Clocks(lambda: wall[0], lambda: monotonic[0]))
    telemetry.epochs.snapshot()
    monotonic[0] += 2
    telemetry.epochs.durable()
    wall[0] += 3_600  # the system clock is set
    monotonic[0] += 1
    assert value(telemetry, "chillflow_epoch_commit_seconds_sum") == 2
    assert (telemetry.epochs.last, telemetry.epochs.age) == (1_000, 1)


def test_two_runs_in_one_process_share_nothing(telemetry: Telemetry) -> None:
    other = Telemetry()
    telemetry.opened(0, 0, 0).read(5, 5, 0)
    telemetry.publish_account(accounts(events=5, late=5), 0, 1.0)
    with pytest.raises(ChillFlowError), telemetry.deliveries.delivering("topics", 1):
        raise ChillFlowError("gone")

    assert value(telemetry, "chillflow_read_events_total", partition="0") == 5
    assert other.readings == []
    assert value(other, "chillflow_read_events_total", partition="0") is None
    assert value(other, "chillflow_account_read_events_total") is None
    assert (telemetry.deliveries.problem(), other.deliveries.problem()) == ("topics: gone", None)
