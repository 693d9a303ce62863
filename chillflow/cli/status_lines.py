"""A status as lines for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from chillflow.operation.run_status import PartitionStatus, Status
from chillflow.telemetry.late_share import CAUSES, describe, is_wrong

__all__ = ["lines"]

_INDENT = " " * 12


def lines(status: Status) -> Iterator[str]:
    """The status, line by line."""
    workers = f"{status['workers']} worker{'' if status['workers'] == 1 else 's'}"
    yield f"{'ready' if status['ready'] else 'not ready'}: {workers} at {status['url']}"
    for problem in status["problems"]:
        yield f"  {problem}"
    yield f"throughput  {status['events_per_second']:,.0f} events/s"
    yield "lag         partition       offsets        event time in flight  watermark (UTC)"
    yield from map(_lag, status["partitions"])
    yield from _account(status)
    yield from _late(status["late_share"])
    error = status.get("last_error")
    yield f"last error  {error['at']}: {error['error']}" if error else "last error  none"


def _lag(each: PartitionStatus) -> str:
    offsets = "?" if each["lag_offsets"] is None else f"{each['lag_offsets']:,}"
    seconds = "?" if each["lag_seconds"] is None else str(timedelta(seconds=int(each["lag_seconds"])))
    watermark = "none yet" if each["watermark"] is None else _minute(each["watermark"])
    return f"{_INDENT}{each['partition']:>9}{offsets:>14}{seconds:>18}{each['in_flight']:>10,}{watermark:>17}"


def _minute(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def _late(share: float | None) -> Iterator[str]:
    """The late share, and if it is too large the possible causes."""
    if not is_wrong(share):
        yield f"late events {describe(share)}"
        return
    yield f"late events WRONG: {describe(share)}"
    for cause in CAUSES:
        yield from textwrap.wrap(
            f"- {cause}", 80, initial_indent=_INDENT, subsequent_indent=f"{_INDENT}  ", break_on_hyphens=False
        )


def _account(status: Status) -> Iterator[str]:
    trips, events = status["trips"], status["events"]
    if not trips:
        yield "account     none yet: no epoch is durable"
        return
    yield f"trips       {trips['complete']:,} complete, {trips['incomplete']:,} incomplete, {trips['open']:,} open"
    yield f"account     {status['read']:,} events read, in trips that are"
    for names in (("complete", "incomplete", "open"), ("duplicates", "superseded", "late", "dead_letters")):
        yield f"{_INDENT}{', '.join(f'{events[name]:,} {name}'.replace('_', ' ') for name in names)}"
    difference = status["difference"]
    yield f"{_INDENT}{'it balances' if difference == 0 else f'{difference:,} UNACCOUNTED FOR: this is a bug'}"
