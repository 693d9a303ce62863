"""The benchmarks run, on few trips: they compare their outputs themselves."""

from __future__ import annotations

import sys

import pytest

from benchmarks.disorder import ORDERS
from tests.archives import ROOT, run
from tests.servers.kafka import KafkaServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def test_streams_in_disorder(kafka_server: KafkaServer) -> None:
    arguments = ("--only", "disorder", "budget", "--trips", 2_000, "--repeat", 1)
    servers = ("--servers", kafka_server.bootstrap_servers)
    page = run(sys.executable, "-m", "benchmarks", *arguments, *servers, cwd=ROOT, timeout=500)
    assert [order.title for order in ORDERS.values() if f"\n| {order.title} | " not in page] == []
    assert "\n| **flow thread, total** | " in page
