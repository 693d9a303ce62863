"""One trip: its events as they came, and what was made of them. For whoever wonders about a fare."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from nicegui import ui

from chillflow.dashboard import trip
from chillflow.dashboard.strip import strip
from chillflow.dashboard.view import MUTED, PANEL, Sources, View, heading
from chillflow.errors import ChillFlowError

__all__ = ["trip_page"]


_CLASSES = dict.fromkeys(("local", "utc"), "whitespace-nowrap") | {"says": "break-words min-w-72"}


def _columns(**labels: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "label": label, "field": name, "align": "left", "classes": _CLASSES.get(name, "")}
        for name, label in labels.items()
    ]


class _Trip:
    """One viewer's look at trips."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources

    def build(self, key: str) -> None:
        """Lay the page out; a key that is given is looked up."""
        with ui.element("div").classes("w-full flex flex-col gap-3"):
            with ui.element("form").classes(f"{PANEL} flex gap-2 items-center").on("submit.prevent", self.find):
                self.key = (
                    ui.input(placeholder="trip_key", value=key)
                    .props('dense outlined clearable autofocus spellcheck=false aria-label="trip_key" data-test=key')
                    .classes("flex-1 min-w-0 font-mono")
                )
                self.button = ui.button("Find", icon="search").props("type=submit unelevated no-caps data-test=find")
            self.result = ui.element("div").classes("w-full flex flex-col gap-3").props("aria-live=polite")
            with self.result:
                self._say_how()
        if key:
            ui.timer(0, self.find, once=True)

    def _say_how(self) -> None:
        with ui.column().classes(f"{PANEL} w-full gap-1"):
            heading("What became of a trip")
            ui.label(
                "Paste the trip_key of a row or of a message. You see each of its events as it came, with its offset,"
                " what counted and what did not, and each revision of the trip that was made of them."
            ).classes(f"text-sm {MUTED}")

    async def find(self) -> None:
        """Look the trip up, and show what there is."""
        key = (self.key.value or "").strip()
        if not key:
            return
        self.button.props("loading")
        found: trip.Found | str
        try:
            found = await self.sources.trips.ask(_look_up, self.sources, key, fresh=1.0)
        except ChillFlowError as error:
            found = str(error)
        finally:
            self.button.props(remove="loading")
        self.result.clear()
        with self.result:
            if isinstance(found, str):
                with (
                    ui.row()
                    .classes("w-full rounded-xl p-3 bg-red-100 dark:bg-red-950 text-red-900 dark:text-red-100")
                    .props("role=alert data-test=problem")
                ):
                    ui.label(found)
            else:
                self._show(found)

    def _show(self, found: trip.Found) -> None:
        with ui.column().classes(f"{PANEL} w-full gap-1 min-w-0"):
            heading(_summary(found))
            ui.label(found.key).classes("font-mono text-xs break-all").props("data-test=shown-key")
            ui.label(_where(found)).classes(f"text-sm {MUTED}").props("data-test=where")
        with ui.column().classes(f"{PANEL} w-full gap-2 min-w-0"):
            heading("Events, in the order in which they came")
            ui.table(
                columns=_columns(
                    number="#",
                    offset="Offset",
                    event_type="Event",
                    local=f"{self.sources.city} time",
                    utc="UTC",
                    version="Version",
                    role="What became of it",
                    says="What it says",
                ),
                rows=[self._event(number, each) for number, each in enumerate(found.events, 1)],
                row_key="number",
            ).classes("w-full bg-transparent tabular-nums").props(
                'flat dense wrap-cells data-test=came no-data-label="no events were found there"'
            )
        with ui.column().classes(f"{PANEL} w-full gap-2 min-w-0"):
            heading("The trip, by revision")
            columns, rows = _revisions(found.revisions)
            ui.table(columns=columns, rows=rows, row_key="field").classes("w-full bg-transparent tabular-nums").props(
                'flat dense data-test=revisions no-data-label="no trip was made of them yet"'
            )

    def _event(self, number: int, event: trip.Arrived) -> dict[str, Any]:
        return {
            "number": number,
            "offset": f"{event.offset:,}",
            "event_type": event.event_type,
            "local": _text(event.event_time, self.sources),
            "utc": "–" if event.event_time is None else f"{event.event_time:%Y-%m-%d %H:%M:%S}",
            "version": "–" if event.version is None else event.version,
            "role": event.role,
            "says": ", ".join(f"{name} {value}" for name, value in event.fields.items()),
        }


def trip_page(sources: Sources, key: str) -> None:
    """Build the page of one viewer."""
    view = View()
    view.header(sources, "Trip")
    with ui.column().classes("w-full max-w-[110rem] mx-auto gap-3 p-0"):
        strip(sources, view)
        _Trip(sources).build(key)


def _look_up(reader: Any, sources: Sources, key: str) -> trip.Found:
    return trip.look_up(sources.log, reader, sources.settings, key)


def _summary(found: trip.Found) -> str:
    if not found.events:
        return "No events were found"
    events = f"{len(found.events)} event{'s'[: len(found.events) != 1]}"
    if not found.revisions:
        return f"{events}, no trip yet: it is open"
    last = found.revisions[-1]
    state = f"incomplete, without {', '.join(last.missing)}" if last.missing else "complete"
    number = len(found.revisions)
    return f"{events}, {number} revision{'s'[: number != 1]}: {state}"


def _where(found: trip.Found) -> str:
    """Where it was looked for: nobody should take what was not read for what is not there."""
    place = f"Partition {found.partition} of {found.partitions}, offsets {found.first:,} to {found.end:,}"
    why = (
        "from the trip's first time to a time-out after its last"
        if found.by_times
        else "the newest, as long as a trip can be open: no table knows the trip"
    )
    cut = f"; there was more, but no more than {trip.LIMIT:,} are read" if found.cut else ""
    return f"{place} ({why}); {found.read:,} messages read{cut}."


def _revisions(revisions: list[trip.Revision]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A column a revision and a row a field; what a revision has changed is marked."""
    titles = {f"r{each.number}": f"Revision {each.number} (offset {each.offset:,})" for each in revisions}
    names = dict.fromkeys(name for each in revisions for name in each.fields if name not in ("trip_key", "revision"))
    rows = []
    for name in ("missing", *names):
        row: dict[str, Any] = {"field": name}
        before: Any = None
        for number, each in enumerate(revisions):
            value = ", ".join(each.missing) or "nothing" if name == "missing" else each.fields.get(name)
            mark = " ← changed" if number and value != before else ""
            row[f"r{each.number}"] = f"{'–' if value is None else value}{mark}"
            before = value
        if any(row[title] != "–" for title in titles):
            rows.append(row)
    return _columns(field="Field", **titles), rows if revisions else []


def _text(moment: datetime | None, sources: Sources) -> str:
    if moment is None:
        return "–"
    return f"{moment.astimezone(sources.zone):%Y-%m-%d %H:%M:%S}"
