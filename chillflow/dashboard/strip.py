"""Health of the pipeline at a glance: the strip at the top of each page."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from nicegui import ui

from chillflow.dashboard.curves import sparkline
from chillflow.dashboard.page_frame import MUTED, PANEL, REFRESH_SECONDS, PageFrame, Sources
from chillflow.dashboard.pipeline_watch import NEWEST_LETTERS, RATE_MINUTES, PipelineHealth
from chillflow.errors import ChillFlowError
from chillflow.telemetry.late_share import CAUSES, describe, is_wrong

__all__ = ["strip"]

_GOOD = "text-emerald-700 dark:text-emerald-400"
_POOR = "text-amber-700 dark:text-amber-400"
_BAD = "text-red-700 dark:text-red-400"
_COLOURS = f"{_GOOD} {_POOR} {_BAD}"
_STATES = {
    "Running": ("check_circle", _GOOD, ""),
    "Not ready": ("warning", _POOR, "border-l-4 border-l-amber-600 dark:border-l-amber-500"),
    "Not running": ("cancel", _BAD, "border-l-4 border-l-red-600 dark:border-l-red-500"),
}
"""Icon, colour and left edge of the strip."""
_EDGES = " ".join(edge for _, _, edge in _STATES.values())
_UNKNOWN = "–"
_LETTERS_SECONDS = 5.0


class _Cell:
    """A value with its name above and a note below."""

    def __init__(self, name: str, test: str) -> None:
        with ui.element("div").classes("min-w-0").props(f'role=group aria-label="{name}" data-test={test}') as self.box:
            ui.label(name).classes(f"text-xs {MUTED} truncate")
            with ui.row().classes("items-center gap-1.5 no-wrap"):
                self.icon = ui.icon("help", size="18px").props("aria-hidden=true")
                self.icon.set_visibility(False)
                self.value = ui.label(_UNKNOWN).classes("text-lg leading-6 font-semibold tabular-nums truncate")
            self.note = ui.label("").classes(f"text-xs {MUTED} truncate tabular-nums")

    def show(self, value: str, note: str = "", *, icon: str | None = None, colour: str = "") -> None:
        self.value.set_text(value)
        self.note.set_text(note)
        self.note.props["title"] = note
        self.value.classes(remove=_COLOURS, add=colour)
        self.icon.set_visibility(icon is not None)
        if icon is not None:
            self.icon.set_name(icon)
            self.icon.classes(remove=_COLOURS, add=colour)

    def menu(self) -> ui.column:
        """Open a menu on a click on the cell. Returns its content."""
        with self.box.classes("cursor-pointer").props('tabindex=0 role=button aria-haspopup="true"'), ui.menu():
            return ui.column().classes("p-3 gap-1 max-w-md")


class _Strip:
    """The cells of the strip, and the menus of late events and of the dead letters' reasons."""

    def __init__(self, sources: Sources, frame: PageFrame) -> None:
        self._sources = sources
        self._frame = frame
        self._shown: PipelineHealth | None = None
        with (
            ui.element("section")
            .classes(f"w-full {PANEL} py-2 grid gap-x-4 gap-y-2 grid-cols-3 md:grid-cols-5 xl:grid-cols-12")
            .props('aria-label="Health of the pipeline" data-test=strip') as self._box
        ):
            self._state = _Cell("Pipeline", "state")
            self._state.box.classes("max-md:col-span-3 xl:col-span-2")
            self._state.value.props("role=status")
            self._events, self._complete = _Cell("Events in", "events"), _Cell("Trips out", "complete")
            self._open, self._incomplete = _Cell("Open", "open"), _Cell("Incomplete", "incomplete")
            self._late, self._letters = _Cell("Late events", "late"), _Cell("Dead letters", "letters")
            self._account, self._lag = _Cell("Account", "account"), _Cell("Lag", "lag")
            self._account.box.classes("xl:col-span-2")
            self._rate = _Cell(f"Events/s, {RATE_MINUTES} min", "rate")
            with self._rate.box:
                self._chart = (
                    ui.echart(sparkline([], RATE_MINUTES, frame.theme)).classes("w-full h-6 -mt-4").props("role=img")
                )
            self._rate.note.set_visibility(False)
            self._causes, self._reasons = self._late.menu(), self._letters.menu()

    def refresh(self) -> None:
        """Show the pipeline's health if it was polled again."""
        health = self._sources.watch.health
        if health is not self._shown:
            self._shown = health
            self._show(health)
            self.draw()

    def draw(self) -> None:
        """Draw the throughput curve."""
        self._chart.options.update(sparkline(self._sources.watch.health.rates, RATE_MINUTES, self._frame.theme))
        self._chart.update()

    async def refresh_letters(self) -> None:
        """Show the dead letters' reasons."""
        try:
            found = await asyncio.to_thread(self._sources.watch.letters)
        except ChillFlowError as error:
            self._letters.note.set_text("reasons unknown")
            self._letters.note.props["title"] = str(error)
            return
        self._letters.note.set_text(", ".join(f"{each.total:,} {_words(each.kind)}" for each in found) or "none")
        self._reasons.clear()
        with self._reasons:
            ui.label(f"Reasons of the newest {NEWEST_LETTERS} per partition" if found else "No dead letters").classes(
                "text-xs font-medium"
            )
            for each in found:
                ui.label(f"{each.total:,} × {_words(each.kind)} ({each.stage})").classes("text-sm")
                ui.label(each.example).classes(f"text-xs {MUTED} break-all")
            if found:
                ui.label("chillflow-stream dead-letters list").classes("text-xs font-mono")

    def _show(self, health: PipelineHealth) -> None:
        state = "Not running" if not health.running else "Running" if health.ready else "Not ready"
        icon, colour, edge = _STATES[state]
        since = f"since {_when(health.since, self._sources)}" if health.since else ""
        self._state.show(state, since if health.ready else "; ".join(health.problems), icon=icon, colour=colour)
        self._box.classes(remove=_EDGES, add=edge)
        known = health.account
        for cell, name, note in (
            (self._events, "events", "read" if health.running else "last known"),
            (self._complete, "complete_trips", "complete"),
            (self._open, "open_trips", "not complete yet"),
            (self._incomplete, "incomplete_trips", "timed out"),
            (self._letters, "dead_letters", self._letters.note.text),
        ):
            cell.show(_UNKNOWN if known is None else f"{known[name]:,}", note)
        self._show_late(_UNKNOWN if known is None else f"{known['late']:,}", health.late_share)
        self._show_balance(health.difference)
        self._show_lag(health)
        self._rate.show(f"{health.rates[-1][1]:,.0f}" if health.rates and health.running else "0")

    def _show_late(self, count: str, share: float | None) -> None:
        wrong = is_wrong(share)
        if wrong:
            self._late.show(count, f"WRONG: {describe(share)}", icon="warning", colour=_POOR)
        else:
            self._late.show(count, "too late to count")
        self._causes.clear()
        with self._causes:
            ui.label(f"Late events: {describe(share)}").classes("text-xs font-medium")
            for cause in CAUSES if wrong else ():
                ui.label(cause).classes("text-sm")

    def _show_balance(self, difference: int | None) -> None:
        if difference is None:
            self._account.show(_UNKNOWN, "no durable epoch yet")
        elif difference:
            self._account.show(f"{difference:,} off", "unaccounted for: a bug", icon="error", colour=_BAD)
        else:
            self._account.show("Balances", "at the last epoch", icon="check_circle", colour=_GOOD)

    def _show_lag(self, health: PipelineHealth) -> None:
        if health.lag_offsets is None:
            self._lag.show(_UNKNOWN, "unknown")
        else:
            self._lag.show(_span(health.lag_seconds), f"{health.lag_offsets:,} {self._sources.log.offset_unit}")


def strip(sources: Sources, frame: PageFrame) -> None:
    """Add the strip to the page and keep it up to date."""
    made = _Strip(sources, frame)
    frame.on_theme_change.append(made.draw)
    ui.timer(REFRESH_SECONDS, made.refresh)
    ui.timer(_LETTERS_SECONDS, made.refresh_letters)


def _when(moment: datetime, sources: Sources) -> str:
    """Wall time, with the day if that is not today."""
    local = moment.astimezone(sources.zone)
    today = datetime.now(UTC).astimezone(sources.zone).date()
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local.day} {local:%b %H:%M}"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return _UNKNOWN
    return f"{seconds:.0f} s" if seconds < 100 else str(timedelta(seconds=int(seconds)))


def _words(kind: str) -> str:
    return kind.replace("_", " ")
