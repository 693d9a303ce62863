"""The ports of a cluster: free until its workers open them."""

from __future__ import annotations

import socket
import sys

import pytest

from chillflow.operation.launcher import _reserved_ports


@pytest.mark.skipif(sys.platform != "linux", reason="ports are reserved on Linux only")
def test_a_reserved_port_is_given_to_nobody_but_can_be_opened() -> None:
    with _reserved_ports(3) as ports:
        assert len({*ports}) == 3
        for _ in range(2_000):
            with socket.socket() as other:
                other.bind(("127.0.0.1", 0))
                assert other.getsockname()[1] not in ports
        with socket.socket() as plain, pytest.raises(OSError, match="in use"):
            plain.bind(("127.0.0.1", ports[0]))
        with socket.socket() as worker:  # as Rust's TcpListener does
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            worker.bind(("127.0.0.1", ports[0]))
            worker.listen()
            with socket.create_connection(("127.0.0.1", ports[0])) as client:
                assert client.getpeername()[1] == ports[0]
