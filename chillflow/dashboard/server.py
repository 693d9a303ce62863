"""Serves the pages: one process, one poller of the pipeline, one connection to the database."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from zoneinfo import ZoneInfo

import uvicorn
from fastapi import FastAPI
from nicegui import app as nicegui_app
from nicegui import ui

from chillflow.connectors import open_log
from chillflow.dashboard.city_page import city_page
from chillflow.dashboard.database import open_reader
from chillflow.dashboard.guard import Guard
from chillflow.dashboard.pipeline_watch import Watch
from chillflow.dashboard.shared import Shared
from chillflow.dashboard.trip_page import trip_page
from chillflow.dashboard.view import Sources
from chillflow.errors import SettingsError
from chillflow.settings import Settings

__all__ = ["serve"]

_TIMEOUT = timedelta(seconds=5)
_RECONNECT_SECONDS = 30.0
"""How long a page that has lost its connection is kept: when it is back it goes on where it was."""


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    url: str | None = None,
    names: Sequence[str] = (),
    ready: Callable[[str], None] = lambda address: None,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Serve until a signal comes, or until `until` says so; `ready` is told the address.

    `url` is where the `assemble` to be watched is served, if not that of the recovery directory. Raises
    SettingsError.
    """
    patient = settings.model_copy(update={"kafka_timeout": _TIMEOUT, "outage_limit": _TIMEOUT})
    with (
        _listening(host, port) as listener,
        closing(open_reader(settings)) as tables,
        closing(open_reader(settings)) as trips,
        ThreadPoolExecutor(1, "tables") as first,
        ThreadPoolExecutor(1, "trips") as second,
    ):
        sources = Sources(
            settings,
            Shared(tables, first),
            Shared(trips, second),
            Watch(patient, url),
            open_log(patient),
            ZoneInfo(settings.source_time_zone),
        )
        server = _Server(_config(_application(sources), settings.dashboard_token, names))
        sources.watch.start()
        address, *_ = listener.getsockname()[:1]
        shown = f"[{address}]" if ":" in address else address
        where = f"http://{shown}:{listener.getsockname()[1]}/"
        try:
            asyncio.run(_run(server, listener, lambda: ready(where), until))
        finally:
            sources.watch.stop()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise SettingsError(f"cannot serve on {host} port {port}: {error.strerror or error} (see --port)") from error


def _application(sources: Sources) -> FastAPI:
    application = FastAPI(title="ChillFlow Stream", docs_url=None, redoc_url=None, openapi_url=None)

    @ui.page("/")
    def _city() -> None:
        city_page(sources)

    @ui.page("/trip")
    def _trip(key: str = "") -> None:
        trip_page(sources, key)

    ui.run_with(
        application,
        title="ChillFlow Stream",
        favicon="🚕",
        dark=None,
        reconnect_timeout=_RECONNECT_SECONDS,
        show_welcome_message=False,
    )
    nicegui_app.config.quasar_config["brand"] = {"primary": "#1d4ed8"}
    return application


def _config(application: FastAPI, token: str | None, names: Sequence[str]) -> uvicorn.Config:
    return uvicorn.Config(
        Guard(application, token, names),
        log_level="warning",
        access_log=False,  # an address may hold the token
        server_header=False,
        timeout_graceful_shutdown=2,
        proxy_headers=False,
    )


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are ours: uvicorn would raise them again when it has ended, before anything is closed."""
        yield


async def _run(server: _Server, listener: socket.socket, ready: Callable[[], None], until: Callable[[], bool]) -> None:
    def stop() -> None:
        server.should_exit = True

    async def watch() -> None:
        while not until():
            await asyncio.sleep(0.2)
        stop()

    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop)
    ready()  # not before a signal would be heard
    watching = asyncio.create_task(watch())
    try:
        await server.serve([listener])
    finally:
        watching.cancel()
