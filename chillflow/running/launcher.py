"""A cluster of worker processes on this machine: one dies, all stop; a signal drains them all."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from chillflow.errors import ChillFlowError
from chillflow.running import drain
from chillflow.running.recovery import drained_folder
from chillflow.settings import Settings, to_environment

__all__ = ["run_workers"]

_GRACE_SECONDS = 10
_POLL_SECONDS = 0.05


def run_workers(settings: Settings, count: int, partitions: int) -> None:
    """Run the assembly of a topic with so many partitions in `count` processes, until all have ended or a signal
    has drained them. Raises ChillFlowError if one fails.
    """
    drain.install()
    drained = drained_folder(settings)
    shutil.rmtree(drained, ignore_errors=True)
    drained.mkdir()
    addresses = ";".join(f"127.0.0.1:{port}" for port in _free_ports(count))
    environment = {**os.environ, **to_environment(settings), "PYTHONUNBUFFERED": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "chillflow.running.worker", str(number), addresses],
            env=environment,
            stdin=subprocess.PIPE,  # never written to: its end tells a worker that we are gone
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a Ctrl-C reaches us alone; we pass it on
        )
        for number in range(count)
    ]
    readers = [
        threading.Thread(target=_prefix, args=(number, worker), daemon=True) for number, worker in enumerate(workers)
    ]
    for reader in readers:
        reader.start()
    try:
        stopped = _watch(workers, drained, partitions)
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
        for worker, reader in zip(workers, readers, strict=True):
            worker.wait()
            reader.join(timeout=5)
    failed = [number for number, worker in enumerate(workers) if worker.returncode]
    if failed and not stopped:
        raise ChillFlowError(f"worker {failed[0]} failed, all were stopped: see its line above")


def _watch(workers: list[subprocess.Popen[str]], drained: Path, partitions: int) -> bool:
    """Until all have ended well, the first has failed, or all partitions are drained: then True.

    What is drained is durable, in the recovery store and in the outputs, so the processes can be killed. They
    cannot stop by themselves: the first would keep the others from finishing their epoch.
    """
    asked: float | None = None
    while any(worker.poll() is None for worker in workers):
        if any(worker.poll() for worker in workers):
            time.sleep(_POLL_SECONDS)  # its last words
            return False
        if drain.requested() and asked is None:
            asked = time.monotonic()
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
        if asked is not None:
            if len(list(drained.iterdir())) == partitions:
                return True
            if time.monotonic() - asked > _GRACE_SECONDS:
                raise ChillFlowError(f"the workers did not stop within {_GRACE_SECONDS} s and were killed")
        time.sleep(_POLL_SECONDS)
    return False


def _prefix(number: int, worker: subprocess.Popen[str]) -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        sys.stderr.write(f"[worker {number}] {line}")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
