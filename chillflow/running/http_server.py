"""A small HTTP server of pages, in a thread that ends with the process."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from prometheus_client import exposition
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from chillflow.errors import SettingsError
from chillflow.telemetry.logs import get_logger

__all__ = ["METRICS", "Page", "Pages", "Server", "json_page", "metrics_page"]

METRICS, LIVE, READY = "/metrics", "/livez", "/readyz"
_POLL = 0.1
"""How often the thread looks whether it is to end, seconds."""


class Page(NamedTuple):
    """An answer."""

    status: int
    content_type: str
    body: bytes


Pages: TypeAlias = Mapping[str, Callable[[str], Page]]
"""What is served, by path: functions of the header `Accept`."""


class Server:
    """Serves the pages until it is closed. Raises SettingsError if it cannot listen there."""

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        class Listener(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        class Handler(_Handler):
            served = pages

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
        """Where it can be reached from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104 - looked up
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: ClassVar[Pages]
    timeout = 10
    """A client that says nothing is let go."""
    server_version = "chillflow-stream"
    sys_version = ""

    def do_GET(self) -> None:
        ask = self.served.get(urlsplit(self.path).path)
        if ask is None:
            page = Page(404, "text/plain", f"there are {', '.join(self.served)}\n".encode())
        else:
            try:
                page = ask(self.headers.get("Accept", ""))
            except Exception as error:
                get_logger().exception("a page of monitoring could not be made", path=self.path)
                page = Page(500, "text/plain", f"{error}\n".encode())
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        self.wfile.write(page.body)

    def log_message(self, format: str, *args: Any) -> None:
        """A request is no event worth a line."""


class _MetricFamilies(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def metrics_page(accept: str, families: Iterable[Metric]) -> Page:
    """Metrics in the format that the client takes."""
    encode, content_type = exposition.choose_encoder(accept)
    return Page(200, content_type, encode(_MetricFamilies(families)))


def json_page(ok: bool, body: Mapping[str, Any]) -> Page:
    """A state of health: 200 if all is well, 503 if not."""
    return Page(200 if ok else 503, "application/json", json.dumps(body, indent=2).encode() + b"\n")
