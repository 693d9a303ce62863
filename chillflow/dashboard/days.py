"""Local days and the windows that start in them. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

__all__ = ["LocalDay"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LocalDay(NamedTuple):
    """A day of wall time: 24 hours, or 23 or 25 when the clock changes."""

    date: date
    zone: ZoneInfo

    @classmethod
    def of(cls, moment: datetime, zone: ZoneInfo) -> LocalDay:
        """The day that contains a moment."""
        return cls(moment.astimezone(zone).date(), zone)

    @property
    def since(self) -> datetime:
        """Start of the day, UTC."""
        return datetime.combine(self.date, time(), self.zone).astimezone(UTC)

    @property
    def until(self) -> datetime:
        """Start of the next day, UTC."""
        return datetime.combine(self.date + timedelta(days=1), time(), self.zone).astimezone(UTC)

    def starts(self, minutes: int) -> list[datetime]:
        """Starts of the windows of this length that begin in the day, UTC."""
        length = timedelta(minutes=minutes)
        first = self.since + (_EPOCH - self.since) % length
        return [first + number * length for number in range(-(-(self.until - first) // length))]

    def clock(self, moment: datetime) -> str:
        """Wall time: `17:15`."""
        return moment.astimezone(self.zone).strftime("%H:%M")

    def title(self, moment: datetime, minutes: int) -> str:
        """A window as text: `Mon 1 Jan 2024, 17:15–17:30`."""
        local = moment.astimezone(self.zone)
        end = self.clock(moment + timedelta(minutes=minutes))
        return f"{local:%a} {local.day} {local:%b %Y}, {local:%H:%M}–{end}"
