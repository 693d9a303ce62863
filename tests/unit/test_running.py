"""A run restores the process it ran in: dataflows may be embedded, and tests run commands in process."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading

import pytest

from chillflow.errors import ChillFlowError
from chillflow.running.process_tuning import tuned_process
from chillflow.running.stopping import Drain
from chillflow.telemetry import Telemetry
from chillflow.telemetry.failures import keeps_failures
from tests.servers._process import wait_until


def handlers() -> tuple[object, ...]:
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    return wakeup, signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)


def test_a_signal_drains_the_run_and_the_previous_handlers_are_restored() -> None:
    before, threads = handlers(), threading.active_count()
    for asked in (signal.SIGTERM, signal.SIGINT):
        drain, other = Drain(), Drain()
        with drain.on_signals():
            assert not drain.requested()
            os.kill(os.getpid(), asked)
            assert wait_until(drain.requested, 10)
        assert not other.requested(), "another run in this process goes on"
    assert handlers() == before
    assert threading.active_count() == threads


def test_a_run_that_has_drained_in_time_is_not_killed_later() -> None:
    drain = Drain()
    with drain.on_signals(0.2):
        drain.request()
    assert not wait_until(lambda: False, 0.4), "the process would be gone"


def test_outside_the_main_thread_nothing_changes() -> None:
    before, found = handlers(), list[object]()

    def run() -> None:
        with Drain().on_signals(1):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert (found, handlers()) == ([before[1]], before)


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_process_tuning_is_undone_at_the_end(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", level)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def state() -> tuple[object, ...]:
        return gc.get_threshold(), sys.stderr, os.fstat(2).st_ino

    before = state()
    with tuned_process():
        inside = state()
    assert inside[0] != before[0]
    assert (inside[1:] != before[1:]) == (level == "INFO"), "with DEBUG panics are shown"
    assert state() == before
    assert gc.get_freeze_count() == 0


def test_a_failure_is_kept_in_the_telemetry_of_its_run() -> None:
    @keeps_failures
    class Source:
        def __init__(self) -> None:
            self.telemetry = Telemetry()

        def next_batch(self) -> None:
            raise ChillFlowError("gone")

    one, other = Source(), Source()
    with pytest.raises(ChillFlowError, match="gone"):
        one.next_batch()
    assert [str(error) for error in one.telemetry.failures] == ["gone"]
    assert other.telemetry.failures == []
