"""Common parts of the pages: data sources, header and theme."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from nicegui import ui

from chillflow.connectors.database import Reader
from chillflow.connectors.log import Log
from chillflow.dashboard.pipeline_watch import PipelineWatch
from chillflow.dashboard.shared_queries import SharedQueries
from chillflow.dashboard.themes import DARK, LIGHT, Theme
from chillflow.dashboard.trip_history import TripFinder

__all__ = ["ALERT", "MUTED", "PANEL", "REFRESH_SECONDS", "PageFrame", "Sources", "heading"]

REFRESH_SECONDS = 0.5
"""Between two refreshes of a page; the query results it shows are at most 0.8 s old."""
PANEL = "rounded-xl border border-slate-200 dark:border-slate-700/60 bg-[#fff] dark:bg-[#161d27] p-3 sm:p-4"
ALERT = "w-full rounded-xl p-3 bg-red-100 dark:bg-red-950 text-red-900 dark:text-red-100"
MUTED = "text-slate-600 dark:text-slate-400"
_PAGES = {"City": "/", "Trip": "/trip"}


@dataclass(frozen=True)
class Sources:
    """Data sources of the pages."""

    tables: SharedQueries[Reader]
    trips: SharedQueries[TripFinder]
    watch: PipelineWatch
    log: Log
    zone: ZoneInfo
    """Time zone of all times shown."""
    grafana_url: str | None

    @property
    def city(self) -> str:
        """City of the time zone: `New York`."""
        return self.zone.key.rpartition("/")[2].replace("_", " ")


@dataclass
class PageFrame:
    """Header and theme of one viewer's page."""

    dark: bool = False
    on_theme_change: list[Callable[[], None]] = field(default_factory=list)

    @property
    def theme(self) -> Theme:
        """Colours of the charts."""
        return DARK if self.dark else LIGHT

    def header(self, sources: Sources, active: str) -> None:
        """Add the bar at the top."""
        ui.page_title(f"{active} · ChillFlow Stream")
        colours = ui.element("div").classes("contents")
        ui.query("body").classes("bg-slate-100 dark:bg-[#0d131b] text-slate-900 dark:text-slate-100")
        mode = ui.dark_mode(None)
        with ui.header(elevated=False).classes(
            "items-center gap-1 px-3 sm:px-5 py-1.5 bg-[#fff] dark:bg-[#161d27] text-slate-900 dark:text-slate-100"
            " border-b border-slate-200 dark:border-slate-700/60"
        ):
            ui.icon("local_taxi", size="22px").classes("text-amber-600 dark:text-amber-400").props("aria-hidden=true")
            ui.label("ChillFlow Stream").classes("font-semibold mr-4 max-sm:hidden")
            with ui.element("nav").classes("flex gap-1").props('aria-label="Pages"'):
                for name, path in _PAGES.items():
                    current = "bg-slate-100 dark:bg-slate-700/60 font-medium" if name == active else ""
                    link = ui.link(name, path).classes(
                        f"no-underline px-3 py-1 rounded-md text-inherit hover:bg-slate-100 dark:hover:bg-slate-700"
                        f" {current}"
                    )
                    if name == active:
                        link.props("aria-current=page")
            ui.space()
            ui.label(f"{sources.city} time").classes(f"text-xs {MUTED} max-md:hidden mr-2")
            if sources.grafana_url:
                ui.link("Grafana", sources.grafana_url, new_tab=True).classes("text-sm mr-2").props(
                    "rel=noopener data-test=grafana"
                )
            button = ui.button(icon="contrast", color=None).props(
                'flat round dense aria-label="Light or dark" data-test=dark'
            )

        def show(dark: bool) -> None:
            self.dark = dark
            mode.set_value(dark)
            colours.clear()
            with colours:
                ui.colors(primary=self.theme.primary, positive="#15803d")
            for changed in self.on_theme_change:
                changed()

        async def follow_system() -> None:
            await ui.context.client.connected()
            show(await ui.run_javascript("Quasar.Dark.isActive", timeout=10))

        button.on_click(lambda: show(not self.dark))
        ui.timer(0, follow_system, once=True)


def heading(text: str) -> ui.label:
    """Add a heading that screen readers recognise; returns its label."""
    with ui.element("h2").classes("text-base font-semibold leading-snug m-0"):
        return ui.label(text)
