"""A status as lines for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from chillflow.operation.run_status import PartitionStatus, Status

__all__ = ["lines"]


def lines(status: Status) -> Iterator[str]:
    """The status, line by line."""
    workers = f"{status['workers']} worker{'' if status['workers'] == 1 else 's'}"
    yield f"{'ready' if status['ready'] else 'not ready'}: {workers} at {status['url']}"
    for problem in status["problems"]:
        yield f"  {problem}"
    yield f"throughput  {status['events_per_second']:,.0f} events/s"
    yield "lag         partition       offsets             event time     in flight"
    yield from map(_lag, status["partitions"])
    yield from _account(status)
    error = status.get("last_error")
    yield f"last error  {error['at']}: {error['error']}" if error else "last error  none"


def _lag(each: PartitionStatus) -> str:
    offsets = "?" if each["lag_offsets"] is None else f"{each['lag_offsets']:,}"
    seconds = "?" if each["lag_seconds"] is None else str(timedelta(seconds=int(each["lag_seconds"])))
    return f"{'':12}{each['partition']:>9}{offsets:>14}{seconds:>23}{each['in_flight']:>14,}"


def _account(status: Status) -> Iterator[str]:
    trips, events = status["trips"], status["events"]
    if not trips:
        yield "account     none yet: no epoch is durable"
        return
    yield f"trips       {trips['complete']:,} complete, {trips['incomplete']:,} incomplete, {trips['open']:,} open"
    yield f"account     {status['read']:,} events read, in trips that are"
    for names in (("complete", "incomplete", "open"), ("duplicates", "superseded", "late", "dead_letters")):
        yield f"            {', '.join(f'{events[name]:,} {name}'.replace('_', ' ') for name in names)}"
    difference = status["difference"]
    yield f"            {'it balances' if difference == 0 else f'{difference:,} UNACCOUNTED FOR: this is a bug'}"
