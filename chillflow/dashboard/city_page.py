"""City page: a map of the zones in one window, live or selected, and a panel of one zone."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime
from typing import cast

from nicegui import ui
from nicegui.events import EChartPointClickEventArguments, ValueChangeEventArguments

from chillflow.dashboard.city_map import EXTENTS, city_map, zone_name
from chillflow.dashboard.city_view import CityView, read_city_view
from chillflow.dashboard.days import LocalDay
from chillflow.dashboard.page_frame import ALERT, MUTED, PANEL, REFRESH_SECONDS, PageFrame, Sources, heading
from chillflow.dashboard.strip import strip
from chillflow.dashboard.window_sums import MEASURES
from chillflow.dashboard.zone_panel import ZonePanel
from chillflow.errors import ChillFlowError

__all__ = ["city_page"]

_PLAY_SECONDS = 0.5
_ROWS = 15
_ICONS = {"final": "check_circle", "provisional": "pending", "no trips": "remove"}
_TOGGLE = 'dense no-caps unelevated toggle-color=primary padding="2px 10px" role=group'
_FORMAT = "value => value?.toLocaleString('en-US', {{minimumFractionDigits: {}}})"


class _CityPage:
    """One viewer's page: selections and elements."""

    def __init__(self, sources: Sources, frame: PageFrame) -> None:
        self.sources, self.frame = sources, frame
        self.measure, self.extent = "trips", "manhattan"
        self.minutes: int | None = None
        self.at: datetime | None = None
        """Start of the selected window; None when live."""
        self.zone: int | None = None
        self.playing = False
        self.view: CityView | None = None
        self._busy = self._again = False
        self._drawn: object = None

    async def refresh_if_idle(self) -> None:
        """Refresh, unless a refresh is running."""
        if not self._busy:
            await self.refresh()

    async def refresh(self) -> None:
        """Read and show the current view. If a refresh is running, it runs once more."""
        self._again = True
        if self._busy:
            return
        self._busy = True
        try:
            while self._again:
                self._again = False
                await self._refresh_once()
        finally:
            self._busy = False

    async def _refresh_once(self) -> None:
        try:
            view = await read_city_view(
                self.sources.tables, self.sources.zone, minutes=self.minutes, at=self.at, zone=self.zone
            )
        except ChillFlowError as error:
            self.problem.set_visibility(True)
            self.problem_text.set_text(f"{error} – showing the last known state")
            return
        self.problem.set_visibility(False)
        self.empty.set_visibility(view is None)
        self.content.set_visibility(view is not None)
        state = (view, self.measure, self.extent, self.zone, self.frame.dark, self.at is None)
        if view is not None and state != self._drawn:
            self._drawn = state
            self.view = view
            self.show(view)

    # elements

    def build(self) -> None:
        """Create the elements."""
        with ui.row().classes(f"{ALERT} items-center gap-2").props("role=alert data-test=problem") as self.problem:
            ui.icon("cloud_off", size="20px")
            self.problem_text = ui.label("").classes("min-w-0 break-words")
        self.problem.set_visibility(False)
        with ui.column().classes(f"w-full {PANEL} items-center gap-2 py-16").props("data-test=empty") as self.empty:
            ui.icon("hourglass_empty", size="32px").classes(MUTED)
            heading("No windows yet")
            ui.label("They appear here as soon as the first trips are complete.").classes(MUTED)
            ui.label("chillflow-stream assemble").classes("font-mono text-sm")
        self.empty.set_visibility(False)
        with ui.element("div").classes(
            "w-full grid gap-3 lg:grid-cols-[minmax(0,5fr)_minmax(22rem,3fr)]"
        ) as self.content:
            with ui.element("section").classes(f"{PANEL} min-w-0 flex flex-col gap-2").props('aria-label="City"'):
                self._build_window()
                self._build_map()
                self._build_time()
            with ui.element("aside").classes(f"{PANEL} min-w-0 flex flex-col gap-3").props('aria-label="Zone"'):
                self.panel = ZonePanel(self._choose_zone)

    def _build_window(self) -> None:
        with ui.row().classes("w-full items-center gap-x-3 gap-y-1"):
            with ui.element("h1").classes("text-lg leading-6 font-semibold m-0 tabular-nums").props("data-test=window"):
                self.title = ui.label("")
            with ui.row().classes("items-center gap-1 no-wrap").props("role=status data-test=final"):
                self.final_icon = ui.icon("check_circle", size="16px").props("aria-hidden=true")
                self.final = ui.label("").classes("text-sm")
            ui.space()
            ui.toggle(
                {name: each.label for name, each in MEASURES.items()},
                value=self.measure,
                on_change=self._choose_measure,
            ).props(f'{_TOGGLE} aria-label="Measure" data-test=measure')
        with ui.row().classes("w-full items-center gap-x-5 gap-y-1 text-sm tabular-nums").props("data-test=totals"):
            self.total = {name: self._total(each.label, name) for name, each in MEASURES.items()}
            self.total["zones"] = self._total("Zones", "zones")
            ui.space()
            with ui.row().classes("gap-2"):
                extent = ui.toggle(
                    {name: each.label for name, each in EXTENTS.items()},
                    value=self.extent,
                    on_change=self._choose_extent,
                ).props(f'{_TOGGLE} flat aria-label="Part of the map" data-test=extent')
                self.form = ui.toggle({"map": "Map", "table": "Table"}, value="map").props(
                    f'{_TOGGLE} flat aria-label="Map or table" data-test=form'
                )
                extent.bind_visibility_from(self.form, "value", value="map")

    @staticmethod
    def _total(name: str, test: str) -> ui.label:
        with ui.row().classes("gap-1.5 items-baseline"):
            ui.label(name).classes(MUTED)
            return ui.label("").classes("font-medium").props(f"data-test=total-{test}")

    def _build_map(self) -> None:
        with ui.element("div").classes("flex justify-center").bind_visibility_from(self.form, "value", value="map"):
            self.map = (
                ui.echart({}, on_point_click=self._click)
                .style("width: min(100%, max(22rem, calc(100dvh - 23.5rem))); height: auto; aspect-ratio: 1")
                .props("role=img data-test=map")
            )
        columns = [
            {"name": "zone", "label": "Zone", "field": "zone", "align": "left", "sortable": True},
            *(
                {
                    "name": name,
                    "label": each.head,
                    "field": name,
                    "sortable": True,
                    ":format": _FORMAT.format(each.digits),
                }
                for name, each in MEASURES.items()
            ),
            {"name": "state", "label": "State", "field": "state", "align": "left", "sortable": True},
        ]
        self.table = (
            ui.table(columns=columns, rows=[], row_key="id", pagination=_ROWS)
            .classes("w-full bg-transparent tabular-nums")
            .props('flat dense data-test=table aria-label="Zones of the window"')
            .bind_visibility_from(self.form, "value", value="table")
        )
        self.table.on("rowClick", lambda e: self._choose_zone(e.args[1]["id"]), [[], ["id"], None])

    def _build_time(self) -> None:
        with ui.row().classes("w-full items-center gap-x-3 gap-y-2"):
            self.play = ui.button(icon="play_arrow", on_click=self._toggle_play).props(
                'round dense unelevated aria-label="Play" data-test=play'
            )
            self.slider = (
                ui.slider(min=0, max=95, value=0, on_change=self._slide)
                .classes("flex-1 min-w-40")
                .props('aria-label="Window of the day" data-test=slider')
            )
            self.live = ui.button("Live", icon="sensors", on_click=self._go_live).props(
                'dense no-caps unelevated padding="xs sm" data-test=live'
            )
            self.day = (
                ui.input(on_change=self._choose_day)
                .props('type=date dense outlined aria-label="Day" data-test=day')
                .classes("w-40")
            )
            self.length = ui.toggle({}, on_change=self._choose_length).props(
                f'{_TOGGLE} flat aria-label="Length of the windows" data-test=length'
            )
        ui.label(f"{self.sources.city} time. A trip counts in its pickup zone, in the window of its drop-off.").classes(
            f"text-xs {MUTED}"
        )

    def show(self, view: CityView) -> None:
        """Show a view."""
        self.title.set_text(view.day.title(view.at, view.minutes))
        self.final.set_text(view.state)
        self.final_icon.set_name(_ICONS[view.state])
        city = view.city
        for name, each in MEASURES.items():
            self.total[name].set_text(each.text(city))
        self.total["zones"].set_text(str(len(view.zones)))
        self._show_map(view)
        self._show_table(view)
        self.slider.props.set_optional("max", len(view.starts) - 1)
        self.slider.set_value(view.starts.index(view.at))
        first, last = (LocalDay.of(each, view.day.zone).date.isoformat() for each in (view.first, view.last))
        self.day.props(f"min={first} max={last}")
        self.day.set_value(view.day.date.isoformat())
        self.length.set_options({each: _length(each) for each in view.lengths}, value=view.minutes)
        is_live = self.at is None
        self.live.props(f"color={'positive' if is_live else 'grey-7'} aria-pressed={str(is_live).lower()}")
        self.panel.show(view, self.zone, MEASURES[self.measure], self.frame.theme)

    def _show_map(self, view: CityView) -> None:
        top = MEASURES[self.measure].top
        self.map.options.update(
            city_map(
                view.zones,
                measure=self.measure,
                most_trips=view.scale.trips,
                top=top if top is not None else float(getattr(view.scale, self.measure)),
                extent=EXTENTS[self.extent],
                selected=self.zone,
                theme=self.frame.theme,
            )
        )
        self.map.update()

    def _show_table(self, view: CityView) -> None:
        self.table.rows = [
            {
                "id": each.zone_id,
                "zone": zone_name(each.zone_id),
                **{name: measure.rounded(each.sums) for name, measure in MEASURES.items()},
                "state": "final" if each.final else "provisional",
            }
            for each in view.zones
        ]

    # selections

    async def _choose_measure(self, event: ValueChangeEventArguments[str]) -> None:
        self.measure = event.value
        await self.refresh()

    async def _choose_extent(self, event: ValueChangeEventArguments[str]) -> None:
        self.extent = event.value
        await self.refresh()

    async def _choose_length(self, event: ValueChangeEventArguments[int | None]) -> None:
        if event.value is not None and event.value != self.minutes:
            self.minutes = event.value
            await self.refresh()

    async def _choose_zone(self, number: int | None) -> None:
        if number != self.zone:
            self.zone = number
            await self.refresh()

    async def _click(self, event: EChartPointClickEventArguments) -> None:
        await self._choose_zone(int(cast("list[float]", event.value)[-1]))

    async def _choose_day(self, event: ValueChangeEventArguments[str | None]) -> None:
        with suppress(ValueError):
            chosen = LocalDay(date.fromisoformat(event.value or ""), self.sources.zone)
            if self.view is not None and chosen != self.view.day:
                self.at = chosen.since + (self.view.at - self.view.day.since)
                await self.refresh()

    async def _slide(self, event: ValueChangeEventArguments[float | None]) -> None:
        if self.view is None or event.value is None:
            return
        start = self.view.starts[min(int(event.value), len(self.view.starts) - 1)]
        if start != self.view.at:
            self.at = start
            await self.refresh()

    async def _go_live(self) -> None:
        self._stop()
        self.at = None
        await self.refresh()

    def _toggle_play(self) -> None:
        if self.playing:
            self._stop()
            return
        self.playing = True
        self.play.props('icon=pause aria-label="Pause"')
        if self.view is not None and self.at is None:  # from the start of the live day
            self.at = self.view.starts[0]

    def _stop(self) -> None:
        self.playing = False
        self.play.props('icon=play_arrow aria-label="Play"')

    async def step(self) -> None:
        """While playing, go to the next window; stop at the end of the day or of the table."""
        if not self.playing or self.view is None:
            return
        at = self.at or self.view.starts[0]
        after = next((start for start in self.view.starts if at < start <= self.view.last), None)
        if after is None:
            self._stop()
            return
        self.at = after
        await self.refresh()


def city_page(sources: Sources) -> None:
    """Build the page of one viewer and keep it up to date."""
    frame = PageFrame()
    frame.header(sources, "City")
    with ui.column().classes("w-full max-w-[110rem] mx-auto gap-3 p-0"):
        strip(sources, frame)
        page = _CityPage(sources, frame)
        page.build()
    ui.timer(REFRESH_SECONDS, page.refresh_if_idle)
    ui.timer(_PLAY_SECONDS, page.step)


def _length(minutes: int) -> str:
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"
