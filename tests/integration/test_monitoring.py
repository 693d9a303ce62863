"""Metrics, health and status of a running `assemble`."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chillflow.telemetry.metrics import Metrics
from tests.integration.monitoring import Seen, get, is_ready, problems, url_of
from tests.pipelines.command import Running
from tests.pipelines.pipeline import Pipeline
from tests.servers._process import free_port
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer

DISORDER = ("--shuffle-seconds", 600, "--duplicates", 0.05, "--drop", 0.05, "--late", 0.02)


@contextmanager
def assembling(pipeline: Pipeline, *arguments: object, **changes: Any) -> Iterator[tuple[Running, str]]:
    """A run that is ready, and its address."""
    with pipeline.start("assemble", "--json", *arguments, **changes) as running:
        running.wait_for(lambda: is_ready(url_of(pipeline)), 60)
        yield running, url_of(pipeline) or ""


def read(url: str, events: int) -> Seen | None:
    """The metrics, once so many events are in a durable epoch."""
    seen = Seen(url)
    return seen if seen.total("account_read_events_total") == events else None


def test_the_metrics_agree_with_the_summary(pipeline: Pipeline, trips_file: Path, workers: int) -> None:
    pipeline.run("init-db")
    sent = pipeline.produce(trips_file, *DISORDER)["events"] + 2
    pipeline.topics.send(pipeline.topic, b"t", b"no JSON", partition=1)
    pipeline.topics.send(pipeline.topic, None, b"{}", partition=3)

    with assembling(pipeline, "--workers", workers) as (running, url):
        running.wait_for(lambda: read(url, sent) is not None)
        # the ends of the partitions are queried every five seconds, so they may be older
        running.wait_for(lambda: {value for _, value in Seen(url).find("consumer_lag_seconds")} == {0})
        seen = Seen(url)
        done = running.stop()

    account = done.json
    for state in ("complete", "incomplete", "open"):
        assert seen.one("account_trips", state=state) == account[f"{state}_trips"]
        assert seen.one("account_events", outcome=state) == account[f"events_in_{state}"]
    for outcome in ("duplicates", "superseded", "late", "dead_letters"):
        assert seen.one("account_events", outcome=outcome) == account[outcome]
    assert seen.one("account_read_events_total") == account["events"] == sent
    assert seen.one("account_difference_events") == 0
    assert seen.total("account_events") == account["events"]

    assert seen.total("read_events_total") == sent
    assert seen.total("events_total") == sent - account["dead_letters"]
    assert seen.total("events_total", event_type="trip_started") == sum(
        event.value is not None and b'"trip_started"' in event.value for event in pipeline.events()
    )
    assert seen.total("dead_letters_total", stage="decode", reason="no_json") == 1
    assert seen.total("dead_letters_total", stage="decode", reason="no_key") == 1
    assert seen.total("dead_letters_total") == account["dead_letters"] == 2
    assert seen.total("written_messages_total", topic=pipeline.complete) == len(pipeline.trips())
    assert seen.total("written_messages_total", topic=pipeline.dlq) == 2
    assert seen.total("trip_latency_seconds_count") == len(pipeline.trips())
    assert 0 < seen.total("trip_latency_seconds_sum") < 60 * len(pipeline.trips())

    numbers = {str(number) for number in range(workers)}
    assert {labels["worker"] for labels, _ in seen.find("worker_up")} == numbers
    assert {labels["worker"] for labels, _ in seen.find("epoch_duration_seconds_count")} == numbers
    for name in ("events_in_flight", "consumer_lag_offsets", "consumer_lag_seconds"):
        found = seen.find(name)
        assert sorted(labels["partition"] for labels, _ in found) == ["0", "1", "2", "3"]
        assert {labels["worker"] for labels, _ in found} == numbers
        assert {value for _, value in found} == {0}
    assert seen.total("sink_batch_records_sum", sink="table") >= pipeline.rows()
    assert seen.total("delivery_errors_total") == 0
    assert seen.one("starts_total") == 1
    assert seen.one("recovery_store_bytes") > 0
    assert seen.total("snapshot_bytes_total", of="trips") > 0
    assert time.time() - seen.find("last_durable_epoch_timestamp_seconds")[0][1] < 30


def test_the_metrics_served_are_those_on_their_page(embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("init-db")
    embedded.produce(trips_file)
    with assembling(embedded) as (running, url):
        running.wait_for(lambda: read(url, 1500) is not None)
        text = Seen(url).text

    families = dict(re.findall(r"^# TYPE (chillflow_\w+) (\w+)$", text, re.MULTILINE))
    assert families == {metric.name: metric.kind for metric in Metrics().described}
    for metric in Metrics().described:
        name = metric.name + ("_count" if metric.kind == "histogram" else "")
        labels = {tuple(sorted(re.findall(r"(\w+)=", found))) for found in re.findall(rf"^{name}{{(.*)}}", text, re.M)}
        assert labels == {tuple(sorted(metric.labels))}, metric.name


def test_promtool_accepts_the_metrics(promtool: str, embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("init-db")
    embedded.produce(trips_file)
    with assembling(embedded) as (running, url):
        running.wait_for(lambda: read(url, 1500) is not None)
        text = Seen(url).text
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_after_kills_nothing_is_unaccounted_for(embedded: Pipeline, trips_file: Path) -> None:
    embedded.produce(trips_file, *DISORDER)
    last = 0.0
    for run in range(1, 5):
        embedded.produce(trips_file, "--limit", 100)
        with assembling(embedded, DATABASE_URL=None, CHILLFLOW_EPOCH_INTERVAL="0.3s") as (running, url):
            for _ in range(20):
                seen = Seen(url)
                assert [value for _, value in seen.find("account_difference_events")] in ([], [0])
                if seen.find("account_read_events_total"):
                    now = seen.one("account_read_events_total")
                    assert seen.total("account_events") == now >= last, "a durable account never goes back"
                    last = now
            assert seen.one("starts_total") == run
            running.process.kill()
            running.process.wait()
    assert embedded.assemble(DATABASE_URL=None)["events"] >= last > 0


def test_ready_only_while_the_database_answers(
    embedded: Pipeline, own_postgres: PostgresServer, trips_file: Path
) -> None:
    embedded.environment["DATABASE_URL"] = own_postgres.create_database("trips")
    embedded.run("init-db")
    embedded.run("create-topic")
    with embedded.start("assemble", CHILLFLOW_EPOCH_INTERVAL="2s") as running:
        running.wait_for(lambda: url_of(embedded) is not None)
        url = url_of(embedded) or ""
        assert "epoch: no epoch has become durable yet" in problems(url)
        running.wait_for(lambda: is_ready(url))

        own_postgres.stop()
        running.wait_for(lambda: not is_ready(url))
        (problem,) = problems(url)
        assert problem.startswith("database: no Postgres answers: ")
        assert get(f"{url}/livez")[0] == 200
        assert Seen(url).one("check_ok", check="database") == 0

        own_postgres.start()
        running.wait_for(lambda: is_ready(url))
        embedded.produce(trips_file)
        running.wait_for(lambda: read(url, 1500) is not None)
        assert running.stop().code == 0


@pytest.mark.kafka
def test_not_ready_without_the_broker(own_kafka: KafkaServer, embedded: Pipeline) -> None:
    embedded.environment |= {"KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap_servers, "CHILLFLOW_LOG_FORMAT": "json"}
    del embedded.environment["DATABASE_URL"]
    with assembling(embedded) as (running, url):
        own_kafka.stop()
        running.wait_for(lambda: not is_ready(url))
        assert any(problem.startswith("broker: no Kafka broker answers") for problem in problems(url))
        assert not Seen(url).find("consumer_lag_offsets")

        own_kafka.start()
        running.wait_for(lambda: is_ready(url), 60)


def test_a_hanging_worker_is_reported(embedded: Pipeline) -> None:
    embedded.run("create-topic")
    with assembling(embedded, "--workers", 2, DATABASE_URL=None) as (_, url):
        worker = json.loads((embedded.folder / "recovery" / "worker-1.json").read_text())["pid"]
        os.kill(worker, signal.SIGSTOP)
        try:
            assert "worker 1: no answer" in problems(url)
            seen = Seen(url)
        finally:
            os.kill(worker, signal.SIGCONT)
        assert seen.one("worker_up", worker="0") == 1
        assert seen.one("worker_up", worker="1") == 0


def test_a_port_in_use_is_an_error(embedded: Pipeline) -> None:
    embedded.run("create-topic")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for workers in (1, 2):
            line = embedded.fail(
                *("assemble", "--exit-at-end", "--workers", workers, "--metrics-port", port), code=2, DATABASE_URL=None
            )
            assert line.startswith(f"cannot serve metrics on 127.0.0.1 port {port}: Address already in use")


def test_the_port_of_the_option_is_used(embedded: Pipeline) -> None:
    embedded.run("create-topic")
    port = free_port()
    with assembling(embedded, "--metrics-port", port, "--metrics-host", "0.0.0.0", DATABASE_URL=None) as (_, url):
        assert url == f"http://127.0.0.1:{port}"
        code, text = get(f"{url}/nothing")
        assert (code, text) == (404, "there are /metrics, /livez, /readyz\n")


# status


def test_status_without_a_run_of_a_run_and_of_one_that_failed(embedded: Pipeline, trips_file: Path) -> None:
    recovery = embedded.folder / "recovery"
    assert embedded.fail("status") == f"no `assemble` runs on {recovery}"

    embedded.run("init-db")
    embedded.produce(trips_file, "--drop", 0.1)
    with assembling(embedded) as (running, url):
        running.wait_for(lambda: is_ready(url) and Seen(url).total("account_trips", state="complete") > 0)
        shown = embedded.run("status")
        status = embedded.run("status", "--json").json
        elsewhere = embedded.run("status", "--json", "--url", f"{url}/", CHILLFLOW_RECOVERY_DIR="nowhere").json
        account = running.stop().json

    assert max(map(len, shown.lines)) <= 80
    assert shown.lines[0] == f"ready: 1 worker at {url}"
    assert "            it balances" in shown.lines
    assert shown.lines[-1] == "last error  none"
    assert status["ready"] is True
    assert status["problems"] == []
    assert status["read"] == account["events"]
    assert status["trips"]["open"] == account["open_trips"] > 0
    assert status["difference"] == 0
    assert [each["partition"] for each in status["partitions"]] == [0, 1, 2, 3]
    assert {each["in_flight"] for each in status["partitions"]} == {0}
    assert {each["lag_offsets"] for each in status["partitions"]} == {0}
    assert status["last_error"] is None
    assert elsewhere["read"] == status["read"]

    database = Path(embedded.database.removeprefix("sqlite:///"))
    with assembling(embedded) as (running, url):
        database.write_bytes(b"no database any more")
        running.wait_for(lambda: not is_ready(url))
        done = embedded.run("status", code=1)
        assert done.lines[0] == f"not ready: 1 worker at {url}"
        assert done.stderr.startswith("error: not ready: database: ")
        embedded.produce(trips_file)
        assert running.result().code == 1
    line = embedded.fail("status")
    assert line.startswith(f"no `assemble` runs on {recovery} (the last error: {database}: ")


def test_status_of_a_run_that_was_killed(embedded: Pipeline) -> None:
    embedded.run("create-topic")
    with assembling(embedded, DATABASE_URL=None) as (running, _):
        running.process.kill()
        running.process.wait()
    assert embedded.fail("status").startswith("no `assemble` runs on ")


# python -m bytewax.run


def test_under_bytewax_run(embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("init-db")
    embedded.produce(trips_file)
    store = embedded.folder / "store"
    store.mkdir()
    embedded.python(sys.executable, "-m", "bytewax.recovery", store, 1)
    run = ("-m", "bytewax.run", "dataflows.assemble", "-r", store, "-s", 1, "-b", 0)
    with embedded.start(*run, program=sys.executable) as running:
        running.wait_for(lambda: is_ready(url_of(embedded, store)))
        url = url_of(embedded, store) or ""
        running.wait_for(lambda: read(url, 1500) is not None)
        assert Seen(url).one("account_trips", state="complete") == 300
        assert embedded.run("status", "--json", "--recovery-dir", store).json["ready"] is True


# Logs


def test_dead_letters_are_one_warning_with_the_position_of_the_first(embedded: Pipeline, trips_file: Path) -> None:
    embedded.run("create-topic")
    for number in range(50):
        embedded.topics.send(embedded.topic, b"t%d" % number, b"no JSON", partition=2)
    done = embedded.run("assemble", "--exit-at-end", "--log-format", "json", DATABASE_URL=None)
    warnings = [json.loads(line) for line in done.stderr.splitlines() if "dead letter (decode, no_json)" in line]
    first = warnings[0]
    assert len(warnings) <= 2
    places = {event.offset: (event.key or b"").decode() for event in embedded.events()}
    assert (first["topic"], first["partition"]) == (embedded.topic, 2)
    assert places[first["offset"]] == first["trip_key"]
    assert first["reason"].startswith("JSON is malformed")
    assert first["count"] > 1
    assert len(embedded.dead_letters()) == 50
