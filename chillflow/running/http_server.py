"""A small HTTP server in a daemon thread."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, NamedTuple, NotRequired, TypeAlias, TypedDict
from urllib.parse import urlsplit

from prometheus_client import exposition
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from chillflow.errors import SettingsError
from chillflow.telemetry.logs import get_logger

__all__ = [
    "LIVE",
    "METRICS",
    "READY",
    "Readiness",
    "Response",
    "Server",
    "live_response",
    "metrics_response",
    "ready_response",
]

METRICS, LIVE, READY = "/metrics", "/livez", "/readyz"
_POLL = 0.1
"""Interval at which the server checks whether to stop, seconds."""


class Response(NamedTuple):
    """An HTTP response."""

    status: int
    content_type: str
    body: bytes


Routes: TypeAlias = Mapping[str, Callable[[str], Response]]
"""By path, a function of the `Accept` header."""


class Readiness(TypedDict):
    """The body of /readyz."""

    ready: NotRequired[bool]
    """Absent, like all except `problems` and `partitions`, for a worker that did not answer."""
    problems: list[str]
    warnings: NotRequired[list[str]]
    """What is wrong although it is ready."""
    checks: NotRequired[dict[str, str]]
    """By check, "ok" or the problem; of a process."""
    workers: NotRequired[dict[str, Readiness]]
    """By number of the worker; of a cluster."""
    partitions: list[int]
    """The partitions that are read."""
    pid: NotRequired[int]


class Server:
    """Serves the routes until it is closed. Raises SettingsError if it cannot listen at this address."""

    def __init__(self, host: str, port: int, routes: Routes) -> None:
        class Listener(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        class Handler(_Handler):
            served = routes

        try:
            self._server = Listener((host, port), Handler)
        except OSError as error:
            raise SettingsError(
                f"cannot serve metrics on {host} port {port}: {error.strerror} (see CHILLFLOW_METRICS_PORT)"
            ) from error
        self._host = host
        threading.Thread(target=self._server.serve_forever, args=(_POLL,), daemon=True).start()

    @property
    def url(self) -> str:
        """The URL of the server on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104 - looked up
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: ClassVar[Routes]
    timeout = 10
    """Seconds until a silent client is disconnected."""
    server_version = "chillflow-stream"
    sys_version = ""

    def do_GET(self) -> None:
        respond = self.served.get(urlsplit(self.path).path)
        if respond is None:
            response = Response(404, "text/plain", f"there are {', '.join(self.served)}\n".encode())
        else:
            try:
                response = respond(self.headers.get("Accept", ""))
            except Exception as error:
                get_logger().exception("a monitoring request failed", path=self.path)
                response = Response(500, "text/plain", f"{error}\n".encode())
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)

    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""


class _MetricFamilies(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def metrics_response(accept: str, families: Iterable[Metric]) -> Response:
    """Metrics in the exposition format that the client accepts."""
    encode, content_type = exposition.choose_encoder(accept)
    return Response(200, content_type, encode(_MetricFamilies(families)))


def live_response(accept: str) -> Response:
    """The answer of /livez: this process answers, which is all that it says."""
    return _json_response(200, {"live": True})


def ready_response(body: Readiness) -> Response:
    """The answer of /readyz: 200 if there are no problems, else 503."""
    return _json_response(503 if body["problems"] else 200, body)


def _json_response(status: int, body: Mapping[str, object]) -> Response:
    return Response(status, "application/json", json.dumps(body, indent=2).encode() + b"\n")
