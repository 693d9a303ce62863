"""A TCP proxy between a client and a server on this machine, which simulates network failures."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK = 1 << 16


class Proxy:
    """Forwards a port of 127.0.0.1 to another one.

    Data held back by `cut` or `mute` arrives after `restore`, as with TCP retransmission; after `sever` it is lost.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.delay = 0.0
        """Seconds by which each chunk is delayed."""
        self._target = target
        self._requests_pass, self._replies_pass = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._connections: list[tuple[socket.socket, socket.socket]] = []
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        self.restore()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sever()

    def cut(self) -> None:
        """Pull the cable: nothing passes, and neither side notices."""
        self._requests_pass.clear()
        self._replies_pass.clear()

    def mute(self) -> None:
        """Hold back replies: the server still receives and serves requests."""
        self._replies_pass.clear()

    def half_close(self) -> None:
        """Close each connection in the direction to the client; the other direction stays open."""
        with self._lock:
            for client, _ in self._connections:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_WR)

    def sever(self) -> None:
        """Close all connections, losing the data in flight, and refuse new ones."""
        with self._lock:
            if self._listener is not None:
                _end(self._listener)
                self._listener = None
            for connection in self._connections:
                for each in connection:
                    _end(each)
            self._connections.clear()
        self._let_pass()

    def restore(self) -> None:
        """Let everything pass again, without delay."""
        with self._lock:
            if self._listener is None:
                self._listener = socket.create_server(("127.0.0.1", self.port))
                threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        self.delay = 0.0
        self._let_pass()

    def _let_pass(self) -> None:
        self._requests_pass.set()
        self._replies_pass.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # severed
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._requests_pass.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            _end(client)
            return
        with self._lock:
            if self._listener is None:  # severed in the meantime
                _end(client)
                _end(server)
                return
            self._connections.append((client, server))
        for source, sink, may_pass in ((client, server, self._requests_pass), (server, client, self._replies_pass)):
            threading.Thread(target=self._pass_on, args=(source, sink, may_pass), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, may_pass: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                if self.delay:
                    time.sleep(self.delay)
                may_pass.wait()
                sink.sendall(data)
        may_pass.wait()
        _end(source)
        _end(sink)


def _end(each: socket.socket) -> None:
    """Close a socket, even while another thread waits for it."""
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
