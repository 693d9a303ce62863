"""dashboard."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from chillflow.cli.command import DATABASE, KAFKA, command
from chillflow.errors import SettingsError
from chillflow.settings import Settings

__all__ = ["PORT", "need_extra", "register"]

PORT = 8050
_USES = (*DATABASE, *KAFKA, "topic", "complete_topic", "incomplete_topic", "recovery_dir", "grafana_url")


def register(app: typer.Typer) -> None:
    """Add the command of this group."""

    @command(app, "dashboard", group="Look", uses=_USES)
    def dashboard(
        settings: Settings,
        host: Annotated[str, typer.Option(help="address to listen on; others than this machine need a token")] = (
            "127.0.0.1"
        ),
        port: Annotated[int, typer.Option(min=0, max=65535, help="its port; 0 is any that is free")] = PORT,
        token: Annotated[
            str | None,
            typer.Option(
                help="what viewers must know, 16 characters or more; others of this machine can see options:"
                " rather in CHILLFLOW_DASHBOARD_TOKEN"
            ),
        ] = None,
        allow_host: Annotated[
            list[str] | None,
            typer.Option(help="a host name it may be asked for by, besides addresses; repeatable"),
        ] = None,
        url: Annotated[str | None, typer.Option(help="of an `assemble` elsewhere, say http://host:9108")] = None,
    ) -> None:
        """Show the city and the pipeline live, on a page at http://127.0.0.1:8050. Reads only.

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
        serve(settings, host=host, port=port, url=url, names=allow_host or (), ready=_say)


def need_extra() -> None:
    """Raise SettingsError unless what the pages are made with is there."""
    if find_spec("nicegui") is None:
        raise SettingsError("the dashboard is an extra: pip install 'chillflow-stream[dashboard]'")


def _say(address: str) -> None:
    typer.echo(f"the dashboard is at {address} (Ctrl-C stops)", err=True)
