"""Processes and ports: free ports, children that die with their parent, command lines, lock files."""

import ctypes
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PR_SET_PDEATHSIG = 1


def port_is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1 at this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port(other_than: int | None = None) -> int:
    """A free port below the range for outgoing connections.

    A client that reconnects while its server is down could be given a port of that range which is the server's: it
    would connect to itself, and the server could not start again.
    """
    ports = random.SystemRandom()  # Hypothesis seeds the shared generator, always alike
    while (port := ports.randint(20_000, 32_000)) == other_than or not port_is_free(port):
        pass
    return port


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll until the condition holds; False if it does not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file while the body runs."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` that has the kernel send the child `death_signal` when the thread that started it ends.

    So even a test run killed with SIGKILL leaves no server behind. None where the system is not Linux.
    """
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def in_child() -> None:
        if libc.prctl(PR_SET_PDEATHSIG, int(death_signal)) != 0 or os.getppid() != parent:
            os._exit(1)

    return in_child


def command_line(pid: int) -> str:
    """The command line of a process; empty if the process is gone or a zombie."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    ps = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, text=True, check=False).stdout.strip()


def tail(log: Path, lines: int = 40) -> str:
    """The last lines of a log; empty if there is no log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""
