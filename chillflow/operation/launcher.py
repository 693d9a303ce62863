"""A cluster of worker processes on this machine: one dies, all stop; a signal drains them all."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from chillflow.errors import ChillFlowError
from chillflow.running.recovery import drained_folder
from chillflow.running.stopping import Drain, drain_limit, too_long
from chillflow.settings import RunArguments, Settings, to_environment

__all__ = ["run_workers"]

_POLL_SECONDS = 0.05
_LAST_WORDS_SECONDS = 3


def run_workers(settings: Settings, count: int, partitions: int, *, exit_at_end: bool, close_all: bool) -> None:
    """Run the assembly of a topic in `count` processes until all have ended or a signal has drained them.

    The topic has `partitions` partitions. Raises ChillFlowError if a process fails.
    """
    drain = Drain()
    with drain.on_signals():
        environment = to_environment(settings, RunArguments(exit_at_end=exit_at_end, close_all=close_all))
        _run_workers(settings, drain, count, partitions, environment)


def _run_workers(settings: Settings, drain: Drain, count: int, partitions: int, environment: Mapping[str, str]) -> None:
    drained = drained_folder(settings.recovery_dir)
    shutil.rmtree(drained, ignore_errors=True)
    drained.mkdir()
    addresses = ";".join(f"127.0.0.1:{port}" for port in _free_ports(count))
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "chillflow.operation.worker", str(number), addresses],
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,  # never written to: its end tells a worker that we are gone
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a Ctrl-C reaches us alone; we pass it on
        )
        for number in range(count)
    ]
    errors: dict[int, str] = {}
    readers = [
        threading.Thread(target=_prefix, args=(number, worker, errors), daemon=True)
        for number, worker in enumerate(workers)
    ]
    for reader in readers:
        reader.start()
    try:
        failed = _watch(workers, drain, drained, partitions, errors, drain_limit(settings.epoch_interval))
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
        for worker, reader in zip(workers, readers, strict=True):
            worker.wait()
            reader.join(timeout=5)
    if failed is not None:
        number, reason = next(iter(errors.items()), (failed, _end_of(workers[failed])))
        raise ChillFlowError(f"worker {number} failed, all were stopped: {reason}")


def _watch(
    workers: list[subprocess.Popen[str]],
    drain: Drain,
    drained: Path,
    partitions: int,
    errors: Mapping[int, str],
    limit: float,
) -> int | None:
    """Wait until all have ended well or all partitions are drained (None), or one has failed (its number).

    Draining may take `limit` seconds.

    What is drained is durable, in the recovery store and in the outputs, so the processes can be killed. They
    cannot stop by themselves: the first would keep the others from finishing their epoch.
    """
    asked: float | None = None
    while any(worker.poll() is None for worker in workers):
        if any(worker.poll() for worker in workers):
            break
        if drain.requested() and asked is None:
            asked = time.monotonic()
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
        if asked is not None:
            if len(list(drained.iterdir())) == partitions:
                return None
            if time.monotonic() - asked > limit:
                raise ChillFlowError(too_long(limit))
        time.sleep(_POLL_SECONDS)
    failed = next((number for number, worker in enumerate(workers) if worker.poll()), None)
    if failed is not None:
        _hear(workers, errors)
    return failed


def _hear(workers: list[subprocess.Popen[str]], errors: Mapping[int, str]) -> None:
    """Let them say why: the first to end may be one that has lost another, which is still closing what it holds."""
    deadline = time.monotonic() + _LAST_WORDS_SECONDS
    while not errors and any(worker.poll() is None for worker in workers) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _end_of(worker: subprocess.Popen[str]) -> str:
    code = worker.returncode
    return f"killed by {signal.Signals(-code).name}" if code < 0 else "see its lines above"


def _prefix(number: int, worker: subprocess.Popen[str], errors: dict[int, str]) -> None:
    """Pass on what a worker says, and keep the error it ends with."""
    assert worker.stdout is not None
    for line in worker.stdout:
        sys.stderr.write(f"[worker {number}] {line}")
        if line.startswith("error: "):
            errors[number] = line.removeprefix("error: ").strip()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
