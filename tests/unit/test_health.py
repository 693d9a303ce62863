"""Health, lag and metrics that a process and a cluster serve, without a dataflow."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chillflow.assembly.tallies import ACCOUNT
from chillflow.connectors.filelog import FileLog
from chillflow.errors import ChillFlowError, DatabaseError, SettingsError
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.model.messages import Message
from chillflow.model.topics import registry
from chillflow.operation.run_status import find
from chillflow.running import run_record
from chillflow.running.cluster_endpoints import monitored_cluster, worker_file
from chillflow.running.health import HealthChecks
from chillflow.running.http_client import get
from chillflow.running.http_server import Response, Server
from chillflow.running.lag import Lag
from chillflow.running.probe import Probe
from chillflow.running.process_endpoints import monitored
from chillflow.running.wiring import monitoring
from chillflow.settings import Settings, load
from chillflow.telemetry import Telemetry
from chillflow.telemetry.late_share import warning
from tests.missing import missing
from tests.servers._process import wait_until
from tests.unit.fake_clock import FakeClock

PARTITIONS = 2


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def telemetry(clock: FakeClock) -> Telemetry:
    return Telemetry(clock.clocks)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = load(kafka_bootstrap_servers=f"file:{tmp_path / 'topics'}", recovery_dir=tmp_path / "recovery")
    FileLog(tmp_path / "topics").ensure_topics([registry(settings)[settings.topic]], PARTITIONS, 1)
    return settings


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.metrics.registry.get_sample_value(f"chillflow_{name}", labels)


def lag_of(telemetry: Telemetry, partition: int) -> tuple[float | None, float | None]:
    offsets, seconds = (
        value(telemetry, f"consumer_lag_{unit}", partition=str(partition)) for unit in ("offsets", "seconds")
    )
    return offsets, seconds


# Probe


def test_a_probe_reuses_an_answer_within_its_interval(clock: FakeClock) -> None:
    asked: list[float] = []
    probe = Probe(lambda: asked.append(0), interval=5, clock=clock.clocks.monotonic)
    for _ in range(3):
        probe.answer()
        clock.now += 2
    assert len(asked) == 1
    probe.answer()
    assert len(asked) == 2


def test_a_hanging_server_is_waited_for_once(clock: FakeClock) -> None:
    resume, asked, waited = threading.Event(), list[int](), list[float]()

    def hang() -> bool:
        asked.append(1)
        return resume.wait()

    def wait(future: Future[bool], seconds: float) -> bool:
        waited.append(seconds)
        clock.now += seconds
        return future.done()

    probe = Probe(hang, interval=60, timeout=0.5, clock=clock.clocks.monotonic, wait=wait)
    for _ in range(10):
        with pytest.raises(ChillFlowError, match=r"no answer within 0\.5 s"):
            probe.answer()
    assert probe.problem() == "no answer within 0.5 s"
    assert waited == [0.5, *[0] * 10], "all wait for one answer, until the timeout of the first is over"
    assert len(asked) == 1
    resume.set()
    assert wait_until(lambda: probe._future is not None and probe._future.done(), 10)
    assert probe.answer() is True


def test_a_probe_does_not_wait_beyond_its_timeout() -> None:
    resume = threading.Event()
    assert Probe(resume.wait, timeout=0.01).problem() == "no answer within 0.01 s"
    resume.set()


# A process


def checks_of(settings: Settings, telemetry: Telemetry, partitions: int) -> HealthChecks:
    lag = Lag(telemetry, monitoring(settings).ends)
    return HealthChecks(telemetry, lag, partitions, epoch_limit=settings.ready_epoch_limit)


def test_each_check_reports_its_problem(settings: Settings, telemetry: Telemetry, clock: FakeClock) -> None:
    health = checks_of(settings, telemetry, PARTITIONS)
    assert health.checks() == {
        "sources": "0 of 2 partitions are assigned",
        "broker": None,
        "epoch": "no epoch has become durable yet",
        "delivery": None,
    }
    readings = [telemetry.opened(number, 0, NO_WATERMARK) for number in range(PARTITIONS)]
    for reading in readings:
        reading.snapshot()
    for reading in readings:
        reading.durable()
    assert set(health.checks().values()) == {None}
    clock.now += 61
    assert health.checks()["epoch"] == "the last epoch became durable 61 s ago (limit 60 s)"
    assert value(telemetry, "check_ok", check="epoch") == 0


def test_a_worker_without_partitions_is_healthy(settings: Settings, telemetry: Telemetry) -> None:
    checks = checks_of(settings, telemetry, 0).checks()
    assert checks["sources"] is checks["epoch"] is None


def test_a_failed_or_stuck_delivery_is_a_problem(telemetry: Telemetry, clock: FakeClock) -> None:
    delivery = telemetry.deliveries

    def fail() -> None:
        with delivery.delivering("table", 1):
            raise DatabaseError("the disk is full")

    with pytest.raises(DatabaseError):
        fail()
    assert delivery.problem() == "table: the disk is full"
    with delivery.delivering("table", 1):
        pass
    assert delivery.problem() is None
    with delivery.delivering("topics", 1):
        clock.now += 9
        assert delivery.problem() is None
        clock.now += 2
        assert delivery.problem() == "topics: in flight for 11 s"
    assert delivery.problem() is None


def test_lag_in_offsets_and_in_event_time(settings: Settings, telemetry: Telemetry, tmp_path: Path) -> None:
    log = FileLog(tmp_path / "topics")
    writer = log.exactly_once_writer("test", 0)
    for second in (10, 90, 70):
        writer.send(Message(settings.topic, b"k", b"{}", second * 1000))
    writer.flush()
    end = log.ends(settings.topic)[0]
    assert end.newest == 90_000
    reading = telemetry.opened(0, 0, NO_WATERMARK)
    telemetry.opened(1, 0, NO_WATERMARK)

    lag = Lag(telemetry, monitoring(settings).ends)
    lag.publish()
    assert lag_of(telemetry, 0) == (end.offset, None), "no watermark yet"
    assert lag_of(telemetry, 1) == (0, 0), "an empty partition has no lag"
    reading.read(1, 20, 30_000)
    lag.publish()
    assert lag_of(telemetry, 0) == (end.offset - 20, 60)
    reading.read(2, end.offset, 70_000)
    lag.publish()
    assert lag_of(telemetry, 0) == (0, 0)


def test_a_watermark_is_shown_once_it_is_reached(settings: Settings, telemetry: Telemetry) -> None:
    def reached() -> list[float | None]:
        return [value(telemetry, "watermark_timestamp_seconds", partition=str(number)) for number in range(PARTITIONS)]

    readings = [telemetry.opened(number, 0, NO_WATERMARK) for number in range(PARTITIONS)]
    lag = Lag(telemetry, monitoring(settings).ends)
    lag.publish()
    assert reached() == [None, None]
    readings[1].read(20, 100, 1_704_067_200_500)
    lag.publish()
    assert reached() == [None, 1_704_067_200.5]


def test_lag_is_unknown_while_the_log_does_not_answer(settings: Settings, telemetry: Telemetry, tmp_path: Path) -> None:
    telemetry.opened(0, 0, NO_WATERMARK)
    lag = Lag(telemetry, monitoring(settings).ends)
    (tmp_path / "topics").rename(tmp_path / "elsewhere")
    lag.publish()
    assert lag_of(telemetry, 0) == (None, None)
    assert "no topic" in (lag.problem() or "")


def test_events_in_flight_are_those_not_in_a_durable_epoch(telemetry: Telemetry) -> None:
    def in_flight() -> float | None:
        return value(telemetry, "events_in_flight", partition="0")

    reading = telemetry.opened(0, 0, NO_WATERMARK)
    reading.read(5, 5, 0)
    assert in_flight() == 5
    reading.snapshot()
    assert in_flight() == 5
    reading.durable()
    reading.read(2, 7, 0)
    assert in_flight() == 2


def test_late_events_are_in_the_body_of_readyz_but_a_process_stays_ready(
    settings: Settings, telemetry: Telemetry, clock: FakeClock
) -> None:
    nothing = dict.fromkeys(ACCOUNT, 0)
    with monitored(monitoring(settings), telemetry, settings.recovery_dir, partitions=0):
        url = find(settings.recovery_dir)
        telemetry.opened(0, 0, NO_WATERMARK).snapshot()
        telemetry.epochs.durable()
        for share, warnings in ((0.009, []), (0.5, [warning(0.5)])):
            telemetry.publish_account(nothing, 0, share)
            code, text = get(f"{url}/readyz")
            assert (code, json.loads(text)["warnings"]) == (200, warnings)


def test_starts_are_counted_and_the_last_error_is_kept(settings: Settings, telemetry: Telemetry) -> None:
    folder = settings.recovery_dir

    def fail() -> None:
        with monitored(monitoring(settings), telemetry, folder, partitions=0):
            raise DatabaseError("gone")

    for starts in (1, 2):
        with pytest.raises(DatabaseError):
            fail()
        kept = run_record.read(folder / run_record.FILE)
        assert (kept.starts, kept.url) == (starts, None)
        assert kept.last_error is not None
        assert kept.last_error.error == "gone"
    with monitored(monitoring(settings), telemetry, folder, partitions=0):
        assert run_record.read(folder / run_record.FILE).last_error is not None
    with pytest.raises(ChillFlowError, match=r"no `assemble` runs on .* \(the last error: gone\)"):
        find(folder)


def test_the_last_error_has_the_time_of_the_clock(tmp_path: Path) -> None:
    at = datetime(2024, 1, 1, tzinfo=UTC)
    run_record.stopped(tmp_path / "monitoring.json", DatabaseError("gone"), lambda: at)
    assert run_record.read(tmp_path / "monitoring.json").last_error == run_record.LastError(at, "gone")


def test_an_unreadable_record_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "monitoring.json").write_text("{")
    assert run_record.read(tmp_path / "monitoring.json") == run_record.RunRecord()


# The server


def test_a_foreign_address_cannot_be_served() -> None:
    with pytest.raises(SettingsError, match=r"cannot serve metrics on 192\.0\.2\.1 port 1"):
        Server("192.0.2.1", 1, {})


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::", "localhost"])
def test_hosts(host: str) -> None:
    try:
        server = Server(host, 0, {"/x": lambda accept: Response(200, "text/plain", b"here")})
    except SettingsError:
        if ":" not in host:
            raise
        missing("IPv6", "give this machine the address ::1")
    assert get(f"{server.url}/x?y=1") == (200, "here")
    server.close()


def test_a_failing_route_is_an_error_and_the_server_goes_on() -> None:
    routes: dict[str, Any] = {"/bad": lambda accept: 1 / 0, "/good": lambda accept: Response(200, "text/plain", b"")}
    server = Server("127.0.0.1", 0, routes)
    assert get(f"{server.url}/bad") == (500, "division by zero\n")
    assert get(f"{server.url}/good")[0] == 200
    server.close()


# A cluster


class Worker:
    """A server that answers like a worker, with the values given."""

    def __init__(
        self, folder: Path, number: int, partitions: list[int], problems: list[str], metrics: str, *warnings: str
    ) -> None:
        ready = json.dumps(
            {"problems": problems, "warnings": warnings, "partitions": partitions, "pid": number}
        ).encode()
        routes = {
            "/readyz": lambda accept: Response(503 if problems else 200, "application/json", ready),
            "/metrics": lambda accept: Response(200, "text/plain", metrics.encode()),
        }
        self.server = Server("127.0.0.1", 0, routes)
        run_record.started(folder / worker_file(number), number, self.server.url)


def exposition(number: int) -> str:
    return f"""\
# HELP chillflow_read_events_total text
# TYPE chillflow_read_events_total counter
chillflow_read_events_total{{partition="{number}",worker="{number}"}} {number + 1}
# HELP chillflow_worker_up text
# TYPE chillflow_worker_up gauge
chillflow_worker_up{{worker="{number}"}} 1
"""


@pytest.fixture
def cluster(settings: Settings) -> Iterator[str]:
    with monitored_cluster(settings.recovery_dir, 2, PARTITIONS, host="127.0.0.1", port=0):
        yield run_record.read(settings.recovery_dir / run_record.FILE).url or ""


def test_a_cluster_is_ready_when_all_workers_are_and_all_is_read(cluster: str, settings: Settings) -> None:
    code, text = get(f"{cluster}/readyz")
    assert code == 503
    assert json.loads(text)["problems"] == [
        "sources: no worker reads partition 0, 1",
        "worker 0: no answer",
        "worker 1: no answer",
    ]
    Worker(settings.recovery_dir, 0, [0], [], exposition(0))
    Worker(settings.recovery_dir, 1, [], ["database: gone"], exposition(1))
    code, text = get(f"{cluster}/readyz")
    assert (code, json.loads(text)["problems"]) == (
        503,
        ["sources: no worker reads partition 1", "worker 1: database: gone"],
    )
    Worker(settings.recovery_dir, 1, [1], [], exposition(1), "late events")
    code, text = get(f"{cluster}/readyz")
    assert (code, json.loads(text)["ready"], json.loads(text)["warnings"]) == (200, True, ["late events"])
    assert get(f"{cluster}/livez")[0] == 200


def test_a_cluster_serves_the_series_of_all_workers(cluster: str, settings: Settings) -> None:
    Worker(settings.recovery_dir, 0, [0], [], exposition(0))
    worker = Worker(settings.recovery_dir, 1, [1], [], exposition(1))
    _, text = get(f"{cluster}/metrics")
    assert [line for line in text.splitlines() if line[0] != "#"] == [
        'chillflow_read_events_total{partition="0",worker="0"} 1.0',
        'chillflow_read_events_total{partition="1",worker="1"} 2.0',
        'chillflow_worker_up{worker="0"} 1.0',
        'chillflow_worker_up{worker="1"} 1.0',
    ]
    assert text.count("# TYPE") == 2, "each family once, or Prometheus rejects the scrape"
    worker.server.close()
    _, text = get(f"{cluster}/metrics")
    assert 'chillflow_worker_up{worker="1"} 0.0' in text
    assert 'chillflow_read_events_total{partition="0",worker="0"} 1.0' in text


def test_the_addresses_of_an_older_cluster_are_removed(settings: Settings) -> None:
    run_record.started(settings.recovery_dir / worker_file(7), 1, "http://127.0.0.1:1")
    with monitored_cluster(settings.recovery_dir, 2, PARTITIONS, host="127.0.0.1", port=0):
        assert not (settings.recovery_dir / worker_file(7)).exists()
