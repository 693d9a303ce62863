"""A cluster of worker processes on this machine: if one fails all are stopped, and a signal drains all."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from chillflow.errors import ChillFlowError
from chillflow.running.recovery import drained_folder
from chillflow.running.stopping import Drain, drain_limit, too_long
from chillflow.settings import RunArguments, Settings, to_environment

__all__ = ["run_workers"]

_POLL_SECONDS = 0.05
_REASON_SECONDS = 3


def run_workers(settings: Settings, count: int, partitions: int, *, exit_at_end: bool, close_all: bool) -> None:
    """Run the assembly in `count` processes until a signal, or to the end of its topic of `partitions` partitions.

    Raises ChillFlowError if a process fails.
    """
    drain = Drain()
    with drain.on_signals():
        environment = to_environment(settings, RunArguments(exit_at_end=exit_at_end, close_all=close_all))
        with _reserved_ports(count) as ports:
            _run_workers(settings, drain, ports, partitions, environment)


def _run_workers(
    settings: Settings, drain: Drain, ports: list[int], partitions: int, environment: Mapping[str, str]
) -> None:
    drained = drained_folder(settings.recovery_dir)
    shutil.rmtree(drained, ignore_errors=True)
    drained.mkdir()
    addresses = ";".join(f"127.0.0.1:{port}" for port in ports)
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "chillflow.operation.worker", str(number), addresses],
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,  # never written to: a worker exits when it is closed
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a Ctrl-C reaches only this process, which passes it on
        )
        for number in range(len(ports))
    ]
    errors: dict[int, str] = {}
    readers = [
        threading.Thread(target=_relay, args=(number, worker, errors), daemon=True)
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
        number, reason = next(iter(errors.items()), (failed, _exit_reason(workers[failed])))
        raise ChillFlowError(f"worker {number} failed, all were stopped: {reason}")


def _watch(
    workers: list[subprocess.Popen[str]],
    drain: Drain,
    drained: Path,
    partitions: int,
    errors: Mapping[int, str],
    limit: float,
) -> int | None:
    """Wait until all processes have ended or all partitions are drained. Returns the number of a failed process.

    A drained partition is durable in the recovery store and in the outputs, so its process can be killed. A process
    must not stop by itself: that would keep the others from finishing their epoch. Raises ChillFlowError if the drain
    takes more than `limit` seconds.
    """
    requested: float | None = None
    while any(worker.poll() is None for worker in workers):
        if any(worker.poll() for worker in workers):
            break
        if drain.requested() and requested is None:
            requested = time.monotonic()
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
        if requested is not None:
            if len(list(drained.iterdir())) == partitions:
                return None
            if time.monotonic() - requested > limit:
                raise ChillFlowError(too_long(limit))
        time.sleep(_POLL_SECONDS)
    failed = next((number for number, worker in enumerate(workers) if worker.poll()), None)
    if failed is not None:
        _wait_for_reason(workers, errors)
    return failed


def _wait_for_reason(workers: list[subprocess.Popen[str]], errors: Mapping[int, str]) -> None:
    """Wait some seconds for an error message.

    The first worker to end may only have lost its connection to the one that failed, which is still shutting down.
    """
    deadline = time.monotonic() + _REASON_SECONDS
    while not errors and any(worker.poll() is None for worker in workers) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _exit_reason(worker: subprocess.Popen[str]) -> str:
    code = worker.returncode
    return f"killed by {signal.Signals(-code).name}" if code < 0 else "see its lines above"


def _relay(number: int, worker: subprocess.Popen[str], errors: dict[int, str]) -> None:
    """Copy the output of a worker to stderr, and keep the error it ends with."""
    assert worker.stdout is not None
    for line in worker.stdout:
        sys.stderr.write(f"[worker {number}] {line}")
        if line.startswith("error: "):
            errors[number] = line.removeprefix("error: ").strip()


@contextmanager
def _reserved_ports(count: int) -> Iterator[list[int]]:
    """Free ports on 127.0.0.1, which no other program is given while the body runs.

    Timely opens its ports itself, later. On Linux it can open one that is bound here without listening, since both set
    SO_REUSEADDR, and the system gives it to nobody who asks for any free port. Elsewhere ports are only looked up.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in sockets]
        if sys.platform != "linux":
            stack.close()
        yield ports
