"""The lifecycle of a server process: start until it answers, stop until it has exited, kill, restart."""

import os
import pwd
import signal
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.servers._process import command_line, die_with_parent, free_port, port_is_free, tail, wait_until

START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0


class ServerError(Exception):
    """The server cannot be started. The first line is the reason; the end of its log may follow."""


class Server(ABC):
    """A server whose data, log, port and process id are in one folder.

    A second object on the same folder is the same server: with `detached`, another process can stop it. Without
    `detached`, the server dies with the thread that started it, even if the process is killed.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    kill_signal: ClassVar[signal.Signals]

    def __init__(self, folder: Path, *, port: int | None = None, detached: bool = False) -> None:
        """`port` is for the first start in this folder; later starts keep its port."""
        self.folder = folder.resolve()
        self.log = self.folder / "log"
        self.detached = detached
        self._wanted_port = port
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _prepare(self) -> None:
        """Create the data directory unless it exists."""

    @abstractmethod
    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start the process, with `_popen`."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server answers a client."""

    @property
    @abstractmethod
    def _mark(self) -> str:
        """Part of the command line that tells this server from a later process with the same id."""

    @property
    def port(self) -> int:
        """The port on 127.0.0.1: chosen once, kept in the folder."""
        return self._kept_port("port", self._wanted_port)

    @property
    def pid(self) -> int | None:
        """The process id of the server, whoever started it; None if it is not running."""
        if self._process is not None:
            return self._process.pid if self._process.poll() is None else None
        file = self.folder / "pid"
        pid = int(file.read_text()) if file.exists() else 0
        return pid if pid and self._mark in command_line(pid) else None

    @property
    def running(self) -> bool:
        return self.pid is not None

    def start(self) -> None:
        """Start, on the data in the folder if there is any, and wait until the server answers."""
        if self.running:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if not port_is_free(self.port):  # else another server could answer below
            raise ServerError(f"{self.name} cannot start: port {self.port} is taken")
        self._prepare()
        self._process = self._spawn()
        try:
            (self.folder / "pid").write_text(str(self._process.pid))
            self._wait_for_answer(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Shut down gracefully and wait until the process has exited; kill it if that takes too long."""
        if not self._end(self.stop_signal):
            self._end(signal.SIGKILL)

    def kill(self) -> None:
        """Crash the server: it can finish nothing. `start` restarts it."""
        if not self._end(self.kill_signal):
            self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop gracefully, and start on the same data and port."""
        self.stop()
        self.start()

    def discard(self) -> None:  # noqa: B027 - most servers keep nothing outside
        """Remove what the stopped server keeps outside its folder."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.discard()

    def _wait_for_answer(self, process: subprocess.Popen[bytes]) -> None:
        answered = wait_until(lambda: process.poll() is not None or self._answers(), START_TIMEOUT)
        code = process.poll()
        if code is not None:
            raise self._error(f"ended with status {code}")
        if not answered:
            raise self._error(f"does not answer after {START_TIMEOUT:.0f} s")

    def _error(self, what: str) -> ServerError:
        """An error with the log's last message on its first line, which is all that a skip shows."""
        end = tail(self.log)
        messages = [line for line in end.splitlines() if not line[:1].isspace()]  # without stack traces
        return ServerError(f"{self.name} {what}, see {self.log}: {''.join(messages[-1:])}\n{end}")

    def _end(self, how: signal.Signals) -> bool:
        pid = self.pid
        if pid is None:
            return True
        if self._process is not None:
            self._process.send_signal(how)
        else:
            os.kill(pid, how)
        return wait_until(lambda: not self.running, STOP_TIMEOUT)

    def _popen(self, command: list[str], *, run_as: pwd.struct_passwd | None = None) -> subprocess.Popen[bytes]:
        """Start the process in a session of its own, so that Ctrl-C in a terminal reaches only the tests."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                user=run_as.pw_uid if run_as else None,
                group=run_as.pw_gid if run_as else None,
                extra_groups=[] if run_as else None,
                start_new_session=True,
                preexec_fn=None if self.detached else die_with_parent(self.kill_signal),
            )

    def _kept_port(self, name: str, wanted: int | None = None, other_than: int | None = None) -> int:
        file = self.folder / name
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            file.write_text(str(wanted or free_port(other_than)))
        return int(file.read_text())
