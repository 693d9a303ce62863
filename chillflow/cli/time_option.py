"""Times given as options."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from chillflow.errors import SettingsError

__all__ = ["parse_time"]


def parse_time(option: str, text: str, zone: str) -> datetime:
    """The time given by an option; without an offset it is wall-clock time in `zone`. Raises SettingsError."""
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise SettingsError(f"{option} {text!r}: expected a time like 2024-01-31 or 2024-01-31T12:00") from error
    return time if time.tzinfo else time.replace(tzinfo=ZoneInfo(zone))
