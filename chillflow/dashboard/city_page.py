"""The city: a map of its zones in a window of time, live or chosen, and what there is to know of one zone."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime
from typing import Any, TypeAlias, cast

from nicegui import events, ui

from chillflow.dashboard.city_map import EXTENTS, city_map, zone_name
from chillflow.dashboard.days import LocalDay
from chillflow.dashboard.look import Look, look
from chillflow.dashboard.strip import strip
from chillflow.dashboard.view import BEAT, MUTED, PANEL, Sources, View, heading
from chillflow.dashboard.window_sums import MEASURES
from chillflow.dashboard.zone_panel import ZonePanel
from chillflow.errors import ChillFlowError

__all__ = ["city_page"]

Change: TypeAlias = events.ValueChangeEventArguments[Any]

_PLAY_SECONDS = 0.5
_ROWS = 15
_ICONS = {"final": "check_circle", "provisional": "pending", "no trips": "remove"}
_TOGGLE = 'dense no-caps unelevated toggle-color=primary padding="2px 10px"'
_TWO_DIGITS = {":format": "value => value?.toLocaleString('en-US', {minimumFractionDigits: 2})"}


class _City:
    """One viewer's look at the city."""

    def __init__(self, sources: Sources, view: View) -> None:
        self.sources, self.view = sources, view
        self.figure, self.extent = "trips", "manhattan"
        self.minutes: int | None = None
        self.at: datetime | None = None
        """The window that was chosen; None while it is live."""
        self.zone: int | None = None
        self.playing = False
        self.seen: Look | None = None
        self._busy = self._again = False
        self._drawn: object = None

    async def beat(self) -> None:
        """Look again, unless that is under way."""
        if not self._busy:
            await self.refresh()

    async def refresh(self) -> None:
        """Look, and show what is new. What is chosen while that is under way is served by one more look."""
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
            seen = await look(self.sources.tables, self.sources.zone, minutes=self.minutes, at=self.at, zone=self.zone)
        except ChillFlowError as error:
            self.problem.set_visibility(True)
            self.problem_text.set_text(f"{error} – what is shown is as it was before")
            return
        self.problem.set_visibility(False)
        self.empty.set_visibility(seen is None)
        self.content.set_visibility(seen is not None)
        state = (seen, self.figure, self.extent, self.zone, self.view.dark, self.at is None)
        if seen is not None and state != self._drawn:
            self._drawn = state
            self.seen = seen
            self.show(seen)

    # what is shown

    def build(self) -> None:
        """Lay the page out."""
        with (
            ui.row()
            .classes(
                "w-full items-center gap-2 rounded-xl p-3 bg-red-100 dark:bg-red-950 text-red-900 dark:text-red-100"
            )
            .props("role=alert data-test=problem") as self.problem
        ):
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
                {name: each.label for name, each in MEASURES.items()}, value=self.figure, on_change=self._choose_figure
            ).props(f'{_TOGGLE} aria-label="Figure" data-test=figure')
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
                {"name": name, "label": each.head, "field": name, "sortable": True}
                | (_TWO_DIGITS if each.digits == 2 else {})
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
                .props('type=date dense outlined aria-label="LocalDay" data-test=day')
                .classes("w-40")
            )
            self.length = ui.toggle({}, on_change=self._choose_length).props(
                f'{_TOGGLE} flat aria-label="Length of the windows" data-test=length'
            )
        ui.label(f"{self.sources.city} time. A trip counts in the zone where it began, when it ended.").classes(
            f"text-xs {MUTED}"
        )

    def show(self, seen: Look) -> None:
        """Show what was found."""
        self.title.set_text(seen.day.title(seen.at, seen.minutes))
        self.final.set_text(seen.state)
        self.final_icon.set_name(_ICONS[seen.state])
        city = seen.city
        for name, each in MEASURES.items():
            self.total[name].set_text(each.text(city))
        self.total["zones"].set_text(str(len(seen.zones)))
        self._show_map(seen)
        self._show_table(seen)
        self.slider.props.set_optional("max", len(seen.starts) - 1)
        self.slider.set_value(seen.starts.index(seen.at))
        first, last = (LocalDay.of(each, seen.day.zone).date.isoformat() for each in (seen.first, seen.last))
        self.day.props(f"min={first} max={last}")
        self.day.set_value(seen.day.date.isoformat())
        self.length.set_options({each: _length(each) for each in seen.lengths}, value=seen.minutes)
        is_live = self.at is None
        self.live.props(f"color={'positive' if is_live else 'grey-7'} aria-pressed={str(is_live).lower()}")
        self.panel.show(seen, self.zone, MEASURES[self.figure], self.view.theme)

    def _show_map(self, seen: Look) -> None:
        top = MEASURES[self.figure].top
        self.map.options.update(
            city_map(
                seen.zones,
                figure=self.figure,
                most_trips=seen.scale.trips,
                top=top if top is not None else float(getattr(seen.scale, self.figure)),
                extent=EXTENTS[self.extent],
                selected=self.zone,
                theme=self.view.theme,
            )
        )
        self.map.update()

    def _show_table(self, seen: Look) -> None:
        self.table.rows = [
            {
                "id": each.zone_id,
                "zone": zone_name(each.zone_id),
                **{name: figure.rounded(each.sums) for name, figure in MEASURES.items()},
                "state": "final" if each.final else "provisional",
            }
            for each in seen.zones
        ]

    # what is chosen

    async def _choose_figure(self, event: Change) -> None:
        self.figure = event.value
        await self.refresh()

    async def _choose_extent(self, event: Change) -> None:
        self.extent = event.value
        await self.refresh()

    async def _choose_length(self, event: Change) -> None:
        if event.value is not None and event.value != self.minutes:
            self.minutes = event.value
            await self.refresh()

    async def _choose_zone(self, number: int | None) -> None:
        if number != self.zone:
            self.zone = number
            await self.refresh()

    async def _click(self, event: events.EChartPointClickEventArguments) -> None:
        await self._choose_zone(int(cast("list[Any]", event.value)[-1]))

    async def _choose_day(self, event: Change) -> None:
        with suppress(ValueError):
            chosen = LocalDay(date.fromisoformat(event.value or ""), self.sources.zone)
            if self.seen is not None and chosen != self.seen.day:
                self.at = chosen.since + (self.seen.at - self.seen.day.since)
                await self.refresh()

    async def _slide(self, event: Change) -> None:
        if self.seen is None:
            return
        start = self.seen.starts[min(int(event.value), len(self.seen.starts) - 1)]
        if start != self.seen.at:
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
        if self.seen is not None and self.at is None:  # from the beginning of the day that is live
            self.at = self.seen.starts[0]

    def _stop(self) -> None:
        self.playing = False
        self.play.props('icon=play_arrow aria-label="Play"')

    async def step(self) -> None:
        """Play on by one window, to the end of the day or of the windows."""
        if not self.playing or self.seen is None:
            return
        at = self.at or self.seen.starts[0]
        after = next((start for start in self.seen.starts if at < start <= self.seen.last), None)
        if after is None:
            self._stop()
            return
        self.at = after
        await self.refresh()


def city_page(sources: Sources) -> None:
    """Build the page of one viewer, and keep it as the tables are."""
    view = View()
    view.header(sources, "City")
    with ui.column().classes("w-full max-w-[110rem] mx-auto gap-3 p-0"):
        strip(sources, view)
        city = _City(sources, view)
        city.build()
    ui.timer(BEAT, city.beat)
    ui.timer(_PLAY_SECONDS, city.step)


def _length(minutes: int) -> str:
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"
