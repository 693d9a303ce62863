"""The job of `status`, and its lines for a terminal. The pages that it reads: test_health.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chillflow.cli.status_lines import lines
from chillflow.connectors.filelog import FileLog
from chillflow.errors import ChillFlowError
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.model.topics import registry
from chillflow.operation.run_status import Status, find, measure
from chillflow.running import run_record
from chillflow.running.http_server import Response, Server
from chillflow.running.process_endpoints import monitored
from chillflow.running.wiring import monitoring
from chillflow.settings import load
from chillflow.telemetry import Telemetry
from chillflow.telemetry.late_share import CAUSES
from tests.servers._process import free_port
from tests.unit.fake_clock import FakeClock

STATUS: Status = {
    "url": "http://127.0.0.1:9108",
    "ready": True,
    "problems": [],
    "warnings": [],
    "workers": 2,
    "events_per_second": 12_345.6,
    "partitions": [
        {"partition": 0, "lag_offsets": 1500, "lag_seconds": 3661.5, "in_flight": 20, "watermark": 1_704_067_259.9},
        {"partition": 1, "lag_offsets": None, "lag_seconds": None, "in_flight": 0, "watermark": None},
    ],
    "trips": {"complete": 1000, "incomplete": 2, "open": 3},
    "events": {
        "complete": 5000,
        "incomplete": 8,
        "open": 4,
        "duplicates": 5,
        "superseded": 0,
        "late": 1,
        "dead_letters": 0,
    },
    "read": 5018,
    "difference": 0,
    "late_share": 0.0002,
    "starts": 1,
    "since": 1.7e9,
    "last_error": None,
}


def test_throughput_is_measured_between_two_samples(tmp_path: Path) -> None:
    clock = FakeClock()
    telemetry = Telemetry(clock.clocks)
    settings = load(kafka_bootstrap_servers=f"file:{tmp_path / 'topics'}", recovery_dir=tmp_path / "recovery")
    FileLog(tmp_path / "topics").ensure_topics([registry(settings)[settings.topic]], 2, 1)
    with monitored(monitoring(settings), telemetry, settings.recovery_dir, partitions=2):
        url = find(settings.recovery_dir)
        reading = telemetry.opened(0, 0, NO_WATERMARK)

        def while_sleeping(seconds: float) -> None:
            reading.read(500, 500, 0)
            clock.now += 0.5

        status = measure(url, replace(clock.clocks, sleep=while_sleeping))
    assert status["events_per_second"] == 1000
    assert status["ready"] is False
    assert status["problems"][0] == "sources: 1 of 2 partitions are assigned"
    assert "last_error" not in status


def test_status_of_another_server(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(ChillFlowError, match="no answer from"):
        measure(f"http://127.0.0.1:{port}")
    with pytest.raises(ChillFlowError, match="no answer from"):
        measure("nothing")
    server = Server("127.0.0.1", 0, {"/metrics": lambda accept: Response(200, "text/html", b"<html>hello</html>")})
    with pytest.raises(ChillFlowError, match="is no `assemble` of this release"):
        measure(server.url)
    run_record.started(tmp_path / run_record.FILE, 1, server.url)
    with pytest.raises(ChillFlowError, match="no `assemble` runs on"):
        find(tmp_path)
    server.close()


def test_lines_of_a_ready_run() -> None:
    assert [*lines(STATUS)] == [
        "ready: 2 workers at http://127.0.0.1:9108",
        "throughput  12,346 events/s",
        "lag         partition       offsets        event time in flight  watermark (UTC)",
        "                    0         1,500           1:01:01        20 2024-01-01 00:00",
        "                    1             ?                 ?         0         none yet",
        "trips       1,000 complete, 2 incomplete, 3 open",
        "account     5,018 events read, in trips that are",
        "            5,000 complete, 8 incomplete, 4 open",
        "            5 duplicates, 0 superseded, 1 late, 0 dead letters",
        "            it balances",
        "late events 0.0 % of the last 10,000 events or 5 minutes",
        "last error  none",
    ]


def test_lines_of_a_run_with_problems() -> None:
    status: Status = {
        **STATUS,
        "ready": False,
        "problems": ["broker: no answer"],
        "workers": 1,
        "last_error": {"at": "2024-01-01T00:00:00Z", "error": "gone"},
    }
    shown = [*lines(status)]
    assert shown[:2] == ["not ready: 1 worker at http://127.0.0.1:9108", "  broker: no answer"]
    assert shown[-1] == "last error  2024-01-01T00:00:00Z: gone"
    assert "            7 UNACCOUNTED FOR: this is a bug" in lines({**status, "difference": 7})
    assert "account     none yet: no epoch is durable" in lines({**status, "trips": {}})


def test_lines_of_a_run_with_too_many_late_events() -> None:
    shown = [*lines({**STATUS, "late_share": 0.5})]
    assert max(map(len, shown)) <= 80
    start = shown.index("late events WRONG: 50.0 % of the last 10,000 events or 5 minutes")
    causes = " ".join(line.strip() for line in shown[start + 1 : -1])
    assert causes == " ".join(f"- {cause}" for cause in CAUSES)
    assert "late events no events yet" in lines({**STATUS, "late_share": None})
