"""Server of the pages: one process, one poller of the pipeline, two read-only sessions."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from zoneinfo import ZoneInfo

import uvicorn
from fastapi import FastAPI
from nicegui import app as nicegui_app
from nicegui import ui

from chillflow.connectors import open_log, open_reader
from chillflow.connectors.database import Reader
from chillflow.connectors.log import Log
from chillflow.dashboard.city_page import city_page
from chillflow.dashboard.guard import Guard
from chillflow.dashboard.page_frame import Sources
from chillflow.dashboard.pipeline_watch import PipelineWatch
from chillflow.dashboard.shared_queries import SharedQueries
from chillflow.dashboard.trip_history import TripFinder
from chillflow.dashboard.trip_page import trip_page
from chillflow.errors import SettingsError
from chillflow.model.topics import TopicNames
from chillflow.settings import Settings

__all__ = ["serve", "trip_finder"]

_TIMEOUT = timedelta(seconds=5)
_RECONNECT_SECONDS = 30.0
"""Time for which a page that lost its connection keeps its state."""


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
    """Serve until SIGINT, SIGTERM or `until()`; call `ready` with the address.

    `url` is the address of the `assemble` to watch, by default the one on the recovery directory. Raises SettingsError.
    """
    impatient = settings.model_copy(update={"kafka_timeout": _TIMEOUT, "outage_limit": _TIMEOUT})
    with (
        _listening(host, port) as listener,
        closing(open_reader(settings)) as tables,
        closing(open_reader(settings)) as trips,
        ThreadPoolExecutor(1, "tables") as tables_thread,
        ThreadPoolExecutor(1, "trips") as trips_thread,  # a trip may take seconds
    ):
        log, topics = open_log(impatient), TopicNames.of(settings)
        sources = Sources(
            SharedQueries(tables, tables_thread),
            SharedQueries(trip_finder(settings, log, trips), trips_thread),
            PipelineWatch(settings.recovery_dir, topics.dead_letters, partial(open_log, impatient), url),
            log,
            ZoneInfo(settings.source_time_zone),
            settings.grafana_url,
        )
        server = _Server(_config(_application(sources), settings.dashboard_token, names))
        sources.watch.start()
        address, number = listener.getsockname()[:2]
        where = f"http://{f'[{address}]' if ':' in address else address}:{number}/"
        try:
            asyncio.run(_run(server, listener, lambda: ready(where), until))
        finally:
            sources.watch.stop()


def trip_finder(settings: Settings, log: Log, reader: Reader) -> TripFinder:
    """The trip finder for these settings."""
    return TripFinder(
        log,
        reader,
        TopicNames.of(settings),
        settings.stream_time_rank,
        settings.trip_timeout,
        settings.correction_horizon,
    )


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
        access_log=False,  # a URL may hold the token
        server_header=False,
        timeout_graceful_shutdown=2,
        proxy_headers=False,
    )


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to us: uvicorn would raise them again at its end, before our resources are closed."""
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
    ready()  # only now, when signals are handled
    watching = asyncio.create_task(watch())
    try:
        await server.serve([listener])
    finally:
        watching.cancel()
