"""The demonstration: the two dataflows one after the other, and proof that what came out is what went in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

import typer

from chillflow.account import difference
from chillflow.cli.assembling import assemble
from chillflow.cli.producing import produce
from chillflow.connectors import open_database
from chillflow.connectors.parquet import ParquetTrips
from chillflow.errors import ChillFlowError
from chillflow.replay import RejectedRow, Screen
from chillflow.settings import Settings
from chillflow.splitting import ROW_FIELDS, TripRow
from chillflow.synthetic.trips import generate
from chillflow.synthetic.zones import zones
from dataflows.produce import Selection

__all__ = ["run"]

_KEY, _TOTAL, _ZONE = (ROW_FIELDS.index(name) for name in ("trip_key", "total_amount", "pu_zone_id"))


def run(settings: Settings, folder: Path, *, trips: int, seed: int, file: Path | None) -> None:
    """Generate trips (or take `file`), produce, assemble, and compare. Raises ChillFlowError if it does not add up."""
    if folder.exists() and any(folder.iterdir()):
        raise ChillFlowError(f"{folder} is not empty: the demo starts over in a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    source = file or folder / "trips.parquet"
    if file is None:
        generate(source, trips, seed=seed)
        typer.echo(f"1. generated {trips:,} trips: {source}")
    else:
        typer.echo(f"1. your trips: {source}")
    embedded = settings.model_copy(
        update={
            "kafka_bootstrap_servers": f"file:{folder / 'topics'}",
            "database_url": f"sqlite:///{folder / 'trips.sqlite'}",
            "recovery_dir": folder / "recovery",
            "input": str(source),
            "exit_at_end": True,
            "close_all": True,
        }
    )
    database = open_database(embedded)
    database.migrate()
    typer.echo("2. split into events (dataflow trip-event-producer)")
    produced = produce(embedded, Selection())
    typer.echo("3. put together again (dataflow trip-assembler)")
    assembled = assemble(embedded)

    typer.echo("4. does it add up?")
    screen = Screen(datetime.now(timezone.utc), embedded.max_future_skew, embedded.incomplete_horizon)
    rows = ParquetTrips(source, embedded.source_time_zone)
    before = _dollars(row for row in rows if not isinstance(row, RejectedRow) and not screen.reason(row))
    stored = [*database.trips(trip_key=None, since=None, until=None, limit=None)]
    after = _dollars(stored)
    checks = {
        "trips sent, trips complete": (produced["trips"], assembled["complete_trips"]),
        "events sent, events read": (produced["events"], assembled["events"]),
        "events unaccounted for": (0, difference(assembled)),
        "trips with another key or total": (0, len(before.items() ^ after.items())),
        "dollars in, dollars out": (sum(before.values()) / 100, sum(after.values()) / 100),
    }
    for name, (expected, found) in checks.items():
        mark = "ok" if expected == found else "WRONG"
        form = ",.2f" if isinstance(expected, float) else ",d"
        typer.echo(f"   {name:32} {expected:>14{form}} {found:>14{form}}  {mark}")
    typer.echo("5. the busiest pickup zones")
    busiest = Counter(row[_ZONE] for row in stored).most_common(5)
    for zone_id, count in busiest:
        name = zones()[zone_id - 1].name if 0 < zone_id <= len(zones()) else f"zone {zone_id}"
        typer.echo(f"   {name[:32]:32} {count:>7,} {'#' * round(30 * count / busiest[0][1])}")
    typer.echo(f"6. everything is in {folder}; look on with")
    typer.echo(f"   export KAFKA_BOOTSTRAP_SERVERS=file:{folder / 'topics'}")
    typer.echo("   chillflow-stream consume-events --topic complete-trips -n 3")
    database.close()
    if any(expected != found for expected, found in checks.values()):
        raise ChillFlowError("the demo does not add up: please report it")


def _dollars(rows: Iterable[TripRow]) -> dict[str, int]:
    """What each trip cost, in cents, by its key."""
    return {row[_KEY]: round((row[_TOTAL] or 0) * 100) for row in rows}
