"""The command `dashboard`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from chillflow.cli.command import DATABASE, KAFKA, add_command
from chillflow.cli.shared_options import Url
from chillflow.errors import SettingsError
from chillflow.settings import Settings

__all__ = ["PORT", "need_extra", "register"]

PORT = 8050
_USES = (*DATABASE, *KAFKA, "topic", "complete_topic", "incomplete_topic", "recovery_dir", "grafana_url")


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    add_command(app, "dashboard", _dashboard, group="Inspect", uses=_USES)


def _dashboard(
    settings: Settings,
    host: Annotated[str, typer.Option(help="address to listen on; any but a loopback address needs a token")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="port to listen on; 0 takes a free one")] = PORT,
    token: Annotated[
        str | None,
        typer.Option(
            help="secret that viewers need, at least 16 characters; options are visible to other users of this"
            " machine, so prefer CHILLFLOW_DASHBOARD_TOKEN"
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="host name that browsers may use besides localhost and IP addresses; repeatable"),
    ] = None,
    url: Url = None,
) -> None:
    """Serve a live page of the city and the pipeline, at http://127.0.0.1:8050. Read-only.

    Example: chillflow-stream dashboard --port 8050
    """
    need_extra()
    from chillflow.dashboard.guard import is_loopback
    from chillflow.dashboard.server import serve
    from chillflow.settings import load

    if token is not None:
        settings = settings.model_copy(update={"dashboard_token": load(dashboard_token=token).dashboard_token})
    if not is_loopback(host) and settings.dashboard_token is None:
        raise SettingsError(f"--host {host}: others can reach it, so it needs --token or CHILLFLOW_DASHBOARD_TOKEN")
    serve(settings, host=host, port=port, url=url, names=allow_host or (), ready=_report_address)


def need_extra() -> None:
    """Raise SettingsError unless the packages of the dashboard are installed."""
    if find_spec("nicegui") is None:
        raise SettingsError("the dashboard is an extra: pip install 'chillflow-stream[dashboard]'")


def _report_address(address: str) -> None:
    typer.echo(f"the dashboard is at {address} (Ctrl-C stops)", err=True)
