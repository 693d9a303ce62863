"""Side panel of one zone or the whole city: measures, curve over the day, destinations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import zip_longest

from nicegui import ui

from chillflow.dashboard import queries
from chillflow.dashboard.city_map import zone_name
from chillflow.dashboard.city_view import CityView
from chillflow.dashboard.curves import day_curve
from chillflow.dashboard.page_frame import MUTED, heading
from chillflow.dashboard.themes import Theme
from chillflow.dashboard.window_sums import MEASURES, MapMeasure, Sums
from chillflow.model.zones import zones as all_zones

__all__ = ["ZonePanel"]

_SELECT = "event => setTimeout(() => event.target.select())"
"""Typing replaces the old text."""
_FACTS = {name: each.label for name, each in MEASURES.items()} | {
    "mean": "Average paid",
    "distance": "Average distance",
    "duration": "Average time",
    "card": "Paid by card",
}


class ZonePanel:
    """The panel. Calls `choose` with the zone that a viewer selects, None for the whole city."""

    def __init__(self, choose: Callable[[int | None], Awaitable[None]]) -> None:
        with ui.row().classes("w-full items-center gap-2 no-wrap"):
            self._choice = (
                ui.select(
                    {0: "The whole city", **{each.zone_id: zone_name(each.zone_id) for each in all_zones()}},
                    value=0,
                    with_input=True,
                    on_change=lambda event: choose(event.value or None),
                )
                .props('dense outlined options-dense aria-label="Zone" data-test=zone')
                .classes("flex-1 min-w-0")
                .on("focus", js_handler=_SELECT)
            )
            self._close = ui.button(icon="close", on_click=lambda: choose(None)).props(
                'flat round dense aria-label="Back to the whole city" data-test=close'
            )
        with ui.element("dl").classes("grid grid-cols-2 sm:grid-cols-4 gap-2 m-0"):
            self._facts = {name: _fact(label, name) for name, label in _FACTS.items()}
        self._curve_title = heading("")
        self._curve = ui.echart({}).classes("w-full h-52").props("role=img data-test=curve")
        self._list_title = heading("")
        with ui.element("ol").classes("m-0 p-0 list-none flex flex-col gap-1.5").props("data-test=flows"):
            self._lines = [_PanelLine(choose) for _ in range(queries.TOP_ZONES)]
            self._none = ui.label("none").classes(MUTED)

    def show(self, view: CityView, zone: int | None, measure: MapMeasure, theme: Theme) -> None:
        """Show a zone, or the city without one."""
        self._choice.set_value(zone or 0)
        self._close.set_visibility(zone is not None)
        found = next((each.sums for each in view.zones if each.zone_id == zone), Sums())
        sums = view.city if zone is None else found
        for name, each in MEASURES.items():
            self._facts[name].set_text(each.text(sums))
        for name, text in _means(sums).items():
            self._facts[name].set_text(text)
        day = view.day
        self._curve_title.set_text(f"{measure.label} over {day.date:%A}, {day.date.day} {day.date:%B}")
        self._curve.options.update(day_curve(view.windows, view.starts, view.at, day, measure, theme))
        self._curve.update()
        if zone is None:
            self._list_title.set_text("Busiest zones")
            note = measure.text if measure is not MEASURES["trips"] else lambda sums: ""
            self._list([(each.zone_id, each.sums.trips, note(each.sums)) for each in view.zones[: queries.TOP_ZONES]])
        else:
            hour = view.at - timedelta(minutes=view.at.minute)
            self._list_title.set_text(f"Where trips went, {day.clock(hour)}–{day.clock(hour + timedelta(hours=1))}")
            self._list([(each.zone_id, each.trips, _minutes(each.mean_minutes)) for each in view.flows])

    def _list(self, rows: list[tuple[int, int, str]]) -> None:
        most = max((trips for _, trips, _ in rows), default=1)
        for line, row in zip_longest(self._lines, rows):
            line.show(*row, most=most) if row else line.hide()
        self._none.set_visibility(not rows)


class _PanelLine:
    """A zone in a list, with a bar. Its elements are reused for other zones, so that focus stays on the line."""

    def __init__(self, choose: Callable[[int | None], Awaitable[None]]) -> None:
        self._zone = 0

        async def chosen() -> None:
            await choose(self._zone)

        with ui.element("li") as self._line:
            with ui.row().classes("w-full no-wrap items-baseline gap-2 text-sm"):
                self._name = (
                    ui.link("", "#")
                    .classes("truncate flex-1 no-underline hover:underline text-inherit")
                    .on("click.prevent", chosen)
                )
                self._trips = ui.label("").classes("tabular-nums font-medium")
                self._note = ui.label("").classes(f"tabular-nums w-20 text-right {MUTED}")
            self._bar = ui.linear_progress(0, show_value=False, size="4px").props("aria-hidden=true color=primary")

    def show(self, zone: int, trips: int, note: str, *, most: int) -> None:
        """Show a zone."""
        self._zone = zone
        self._name.set_text(zone_name(zone))
        self._trips.set_text(f"{trips:,}")
        self._note.set_text(note)
        self._note.set_visibility(bool(note))
        self._bar.set_value(trips / most)
        self._line.set_visibility(True)

    def hide(self) -> None:
        """Show nothing."""
        self._line.set_visibility(False)


def _fact(label: str, test: str) -> ui.label:
    with ui.element("div").classes("min-w-0"):
        with ui.element("dt").classes(f"text-xs {MUTED}"):
            ui.label(label)
        with ui.element("dd").classes("m-0 font-semibold tabular-nums"):
            return ui.label("").props(f"data-test=fact-{test}")


def _minutes(mean: float | None) -> str:
    return "–" if mean is None else f"{mean:.0f} min"


def _means(sums: Sums) -> dict[str, str]:
    if not sums.trips:
        return dict.fromkeys(("mean", "distance", "duration", "card"), "–")
    return {
        "mean": f"${sums.revenue / sums.trips:,.2f}",
        "distance": f"{sums.distance_m / max(sums.timed_trips, 1) / 1000:.1f} km",
        "duration": f"{sums.duration_s / max(sums.timed_trips, 1) / 60:.0f} min",
        "card": f"{100 * sums.card_trips / sums.trips:.0f} %",
    }
