"""Trip page: the messages of one trip in arrival order, and its revisions."""

from __future__ import annotations

from datetime import datetime

from nicegui import ui

from chillflow.dashboard.page_frame import ALERT, MUTED, PANEL, PageFrame, Sources, heading
from chillflow.dashboard.strip import strip
from chillflow.dashboard.trip_history import TripFinder, TripHistory, TripMessage, TripRevision
from chillflow.errors import ChillFlowError

__all__ = ["trip_page"]

_CLASSES = dict.fromkeys(("local", "utc"), "whitespace-nowrap") | {"fields": "break-words min-w-72"}


def _columns(**labels: str) -> list[dict[str, str]]:
    return [
        {"name": name, "label": label, "field": name, "align": "left", "classes": _CLASSES.get(name, "")}
        for name, label in labels.items()
    ]


class _TripPage:
    """One viewer's page: the search field and its result."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources

    def build(self, key: str) -> None:
        """Create the elements; with a key, search for it at once."""
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
                self._show_help()
        if key:
            ui.timer(0, self.find, once=True)

    def _show_help(self) -> None:
        with ui.column().classes(f"{PANEL} w-full gap-1"):
            heading("History of a trip")
            ui.label(
                "Paste the trip_key of a row or a message to see the trip's events in arrival order, with their offsets"
                " and whether each counted, and every revision of the assembled trip."
            ).classes(f"text-sm {MUTED}")

    async def find(self) -> None:
        """Search for the trip and show its history."""
        key = (self.key.value or "").strip()
        if not key:
            return
        self.button.props("loading")
        found: TripHistory | str
        try:
            found = await self.sources.trips.run(TripFinder.find, key, max_age=1.0)
        except ChillFlowError as error:
            found = str(error)
        finally:
            self.button.props(remove="loading")
        self.result.clear()
        with self.result:
            if isinstance(found, str):
                with ui.row().classes(ALERT).props("role=alert data-test=problem"):
                    ui.label(found)
            else:
                self._show(found)

    def _show(self, found: TripHistory) -> None:
        with ui.column().classes(f"{PANEL} w-full gap-1 min-w-0"):
            heading(_summary(found))
            ui.label(found.key).classes("font-mono text-xs break-all").props("data-test=shown-key")
            ui.label(_where(found)).classes(f"text-sm {MUTED}").props("data-test=where")
        with ui.column().classes(f"{PANEL} w-full gap-2 min-w-0"):
            heading("Events in arrival order")
            ui.table(
                columns=_columns(
                    number="#",
                    offset="Offset",
                    event_type="Event",
                    local=f"{self.sources.city} time",
                    utc="UTC",
                    version="Version",
                    outcome="Outcome",
                    fields="Fields",
                ),
                rows=[self._event(number, each) for number, each in enumerate(found.messages, 1)],
                row_key="number",
            ).classes("w-full bg-transparent tabular-nums").props(
                'flat dense wrap-cells data-test=messages no-data-label="no events found"'
            )
        with ui.column().classes(f"{PANEL} w-full gap-2 min-w-0"):
            heading("Revisions of the trip")
            columns, rows = _revisions(found.revisions)
            ui.table(columns=columns, rows=rows, row_key="field").classes("w-full bg-transparent tabular-nums").props(
                'flat dense data-test=revisions no-data-label="no revision yet"'
            )

    def _event(self, number: int, event: TripMessage) -> dict[str, object]:
        return {
            "number": number,
            "offset": f"{event.offset:,}",
            "event_type": event.event_type,
            "local": _text(event.event_time, self.sources),
            "utc": "–" if event.event_time is None else f"{event.event_time:%Y-%m-%d %H:%M:%S}",
            "version": "–" if event.version is None else event.version,
            "outcome": event.outcome,
            "fields": ", ".join(f"{name} {value}" for name, value in event.fields.items()),
        }


def trip_page(sources: Sources, key: str) -> None:
    """Build the page of one viewer."""
    frame = PageFrame()
    frame.header(sources, "Trip")
    with ui.column().classes("w-full max-w-[110rem] mx-auto gap-3 p-0"):
        strip(sources, frame)
        _TripPage(sources).build(key)


def _summary(found: TripHistory) -> str:
    if not found.messages:
        return "No events found"
    events = _count(len(found.messages), "event")
    if not found.revisions:
        return f"{events}, no revision yet: the trip is open"
    last = found.revisions[-1]
    state = f"incomplete, missing {', '.join(last.missing)}" if last.missing else "complete"
    return f"{events}, {_count(len(found.revisions), 'revision')}: {state}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _where(found: TripHistory) -> str:
    """The offsets read, so that a viewer does not take an unread message for a missing one."""
    place = f"Partition {found.partition} of {found.partitions}, offsets {found.first:,} to {found.end:,}"
    why = (
        "from the trip's first time to a trip timeout after its last"
        if found.by_times
        else "the newest, one trip timeout back: no table knows the trip"
    )
    cut = ", the limit of a search: there are more" if found.cut else ""
    return f"{place} ({why}); {found.read:,} messages read{cut}."


def _revisions(revisions: list[TripRevision]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Columns and rows of a table: a column per revision and a row per field, with changes marked."""
    titles = {f"r{each.number}": f"Revision {each.number} (offset {each.offset:,})" for each in revisions}
    names = dict.fromkeys(name for each in revisions for name in each.fields if name not in ("trip_key", "revision"))
    rows = []
    for name in ("missing", *names):
        row = {"field": name}
        before: object = None
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
