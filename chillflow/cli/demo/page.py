"""The sections that the demo prints: each a list of lines of at most 80 columns."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from chillflow.cli.demo import charts
from chillflow.cli.demo.demo_checks import Check, DemoOutcome
from chillflow.cli.demo.window_checks import Windows
from chillflow.model.topics import TopicNames
from chillflow.operation.producing import Produced
from chillflow.production.disorder import DisorderStats
from chillflow.settings import Settings

__all__ = ["adds_up", "came_out", "files", "incomplete", "intro", "went_in", "zones_and_hours"]


def intro(source: Path, total: int, taken: int, *, own: bool) -> list[str]:
    """The trips and their file."""
    trips = f"{taken:,} of your {total:,} trips" if own else f"{taken:,} generated taxi trips"
    return [f"{trips}: {source}"]


def went_in(settings: Settings, produced: Produced) -> list[str]:
    """The result of production."""
    disorder = produced.disorder or DisorderStats()
    lines = [
        "What went in (dataflow trip-event-producer)",
        _row("trips", produced.trips, "split into five events each"),
        _row("events dropped", disorder.dropped, "on purpose, as if lost"),
        _row("events sent twice", disorder.duplicated),
        _row("events delayed", disorder.delayed, "by up to an hour, so they arrive out of order"),
        _row("events sent", produced.delivered, f"topic {settings.topic}"),
    ]
    if produced.rejected:
        lines.append(
            _row("rows rejected", produced.rejected, f"topic {TopicNames.of(settings).dead_letters}, with the reason")
        )
    return lines


def came_out(settings: Settings, account: Mapping[str, int], seen: DemoOutcome) -> list[str]:
    """The result of assembly."""
    return [
        "What came out (dataflow trip-assembler)",
        _row("complete trips", account["complete_trips"], f"topic {settings.complete_topic}, table stg.complete_trip"),
        _row("incomplete trips", account["incomplete_trips"], f"topic {settings.incomplete_topic}"),
        _row("late events", account["late"], f"topic {TopicNames.of(settings).late}"),
        _row("dead letters", account["dead_letters"] + seen.refused, f"topic {TopicNames.of(settings).dead_letters}"),
    ]


def adds_up(account: Mapping[str, int], checks: Sequence[Check]) -> list[str]:
    """The account and the checks."""
    terms = {
        "in complete trips": account["events_in_complete"],
        "in incomplete trips": account["events_in_incomplete"],
        "in open trips": account["events_in_open"],
        "duplicates": account["duplicates"],
        "superseded, late, dead letters": sum(account[name] for name in ("superseded", "late", "dead_letters")),
    }
    lines = ["Does it add up?", f"   {'events read':30}{account['events']:>10,}"]
    for sign, (name, count) in zip("=++++", terms.items(), strict=True):
        lines.append(f" {sign} {name:30}{count:>10,}")
    lines.append("")
    for each in checks:
        form = ",.2f" if isinstance(each.expected, float) else ",d"
        mark = "ok" if each.is_ok else "WRONG"
        lines.append(f"   {each.name:37}{each.expected:>13{form}}{each.found:>13{form}}  {mark}")
    return lines


def incomplete(seen: DemoOutcome) -> list[str]:
    """Incomplete trips by missing event type."""
    if not seen.missing:
        return ["No trip is incomplete: each has its start, payment and end."]
    counts = Counter(event_type for types in seen.missing.values() for event_type in types)
    lines = [f"Events missing from {len(seen.missing):,} incomplete trips"]
    lines += (f"   {line}" for line in charts.bars(counts.most_common(), label=24, cells=_cells()))
    return lines


def zones_and_hours(windows: Windows, time_zone: str) -> list[str]:
    """Number of windows, busiest zones, trips by hour of the day."""
    counts = ", ".join(f"{count:,} of {minutes} min" for minutes, count in windows.counts.items())
    lines = [f"Windows by pickup zone (mart.zone_window): {counts}", "", "The busiest zones, by trips"]
    lines += (f"   {line}" for line in charts.bars(windows.busiest, cells=_cells()))
    lines += ["", f"Trips by the hour in which they ended ({time_zone})"]
    lines += charts.columns(windows.day, cells=_cells())
    lines.append(" " * 8 + " ".join(f"{hour:02}" for hour in range(24)))
    return lines


def files(folder: Path) -> list[str]:
    """The folder, and commands to try next."""
    command = "chillflow-stream" if shutil.which("chillflow-stream") else os.path.relpath(sys.argv[0])
    return [
        f"Everything is in {folder}. To continue:",
        "",
        f"export KAFKA_BOOTSTRAP_SERVERS=file:{folder / 'topics'}",
        f"export DATABASE_URL=sqlite:///{folder / 'trips.sqlite'}",
        f"export CHILLFLOW_RECOVERY_DIR={folder / 'recovery'}",
        f"{command} consume-events --topic incomplete-trips -n 1",
        f"{command} consume-events --topic zone-windows -n 3",
        f"{command} doctor",
        f"{command} reset --yes",
        f"{command} assemble --exit-at-end --close-all --workers 2",
    ]


def _row(name: str, number: int, note: str = "") -> str:
    return f"   {name:20}{number:>10,}  {note}".rstrip()


def _cells() -> str:
    """Block characters, or ASCII where the encoding of stdout lacks them."""
    try:
        charts.FINE.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return charts.PLAIN
    return charts.FINE
