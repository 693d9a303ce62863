"""Options that several commands have."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from chillflow.errors import SettingsError

__all__ = ["AsJson", "TripKey", "TripsFile", "Url", "parse_time"]

AsJson = Annotated[bool, typer.Option("--json", help="print the result as one JSON object on stdout")]
TripKey = Annotated[str | None, typer.Option(help="only this trip")]
TripsFile = Annotated[Path, typer.Option("--file", help="parquet file of TLC trips, or an export of stg.complete_trip")]
Url = Annotated[str | None, typer.Option(help="address of an `assemble` elsewhere, like http://host:9108")]


def parse_time(option: str, text: str, zone: str) -> datetime:
    """The time given by an option; without an offset it is wall-clock time in `zone`. Raises SettingsError."""
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise SettingsError(f"{option} {text!r}: expected a time like 2024-01-31 or 2024-01-31T12:00") from error
    return time if time.tzinfo else time.replace(tzinfo=ZoneInfo(zone))
