"""How a running `assemble` is doing, from what it serves."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from chillflow.errors import ChillFlowError
from chillflow.running import run_record
from chillflow.running.http_client import get
from chillflow.running.http_server import METRICS, READY

__all__ = ["Samples", "describe", "find", "lines", "look", "sample"]

_SECONDS = 1.0
"""From one look to the next: throughput is what happened in between."""

Samples = Mapping[str, list[tuple[dict[str, str], float]]]
"""What /metrics says, by metric: labels and value."""


def find(folder: Path) -> str:
    """Where the `assemble` that uses this recovery directory is served. Raises ChillFlowError if none runs."""
    kept = run_record.read(folder / run_record.FILE)
    try:
        if kept.url is not None and json.loads(get(kept.url + READY)[1])["pid"] == kept.pid:
            return kept.url
    except (ChillFlowError, ValueError, LookupError):
        pass  # it was killed, and perhaps another program has the port now
    ended = f" (the last error: {kept.last_error.error})" if kept.last_error is not None else ""
    raise ChillFlowError(f"no `assemble` runs on {folder}{ended}")


def look(
    url: str, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """Look twice, a second apart; plain values. Raises ChillFlowError if nobody answers as we do."""
    first, start = sample(url), clock()
    sleep(_SECONDS)
    return describe(url, first, sample(url), clock() - start)


def describe(url: str, first: Samples, samples: Samples, seconds: float) -> dict[str, Any]:
    """What two looks so many seconds apart have seen. Raises ChillFlowError if nobody answers as we do."""
    try:
        ready = json.loads(get(url + READY)[1])
        read = _total(samples, "chillflow_read_events_total") - _total(first, "chillflow_read_events_total")
        return {
            "url": url,
            "ready": ready["ready"],
            "problems": ready["problems"],
            "workers": len(samples["chillflow_worker_up"]),
            "events_per_second": round(max(0.0, read) / seconds, 1),
            "partitions": [*_partitions(samples)],
            "trips": _by(samples, "chillflow_account_trips", "state"),
            "events": _by(samples, "chillflow_account_events", "outcome"),
            "read": int(_total(samples, "chillflow_account_read_events_total")),
            "difference": int(_total(samples, "chillflow_account_difference_events")),
            "starts": int(_total(samples, "chillflow_starts_total")),
            "since": min((value for _, value in samples.get("process_start_time_seconds", ())), default=None),
        }
    except (ValueError, LookupError) as error:
        raise ChillFlowError(f"{url} is no `assemble` of this release") from error


def lines(status: Mapping[str, Any]) -> Iterator[str]:
    """What `look` has seen, for a terminal of 80 columns."""
    workers = status["workers"]
    yield f"{'ready' if status['ready'] else 'not ready'}: {workers} worker{'s'[: workers != 1]} at {status['url']}"
    for problem in status["problems"]:
        yield f"  {problem}"
    yield f"throughput  {status['events_per_second']:,.0f} events/s"
    yield "lag         partition       offsets             event time     in flight"
    for each in status["partitions"]:
        behind = "?" if each["lag_seconds"] is None else str(timedelta(seconds=int(each["lag_seconds"])))
        offsets = "?" if each["lag_offsets"] is None else f"{each['lag_offsets']:,}"
        yield f"{'':12}{each['partition']:>9}{offsets:>14}{behind:>23}{each['in_flight']:>14,}"
    if not status["trips"]:
        yield "account     none yet: no epoch has become durable"
    else:
        trips, events = status["trips"], status["events"]
        yield f"trips       {trips['complete']:,} complete, {trips['incomplete']:,} incomplete, {trips['open']:,} open"
        yield f"account     {status['read']:,} events read, in trips that are"
        for names in (("complete", "incomplete", "open"), ("duplicates", "superseded", "late", "dead_letters")):
            yield f"            {', '.join(f'{events[name]:,} {name}'.replace('_', ' ') for name in names)}"
        difference = status["difference"]
        yield f"            {'it adds up' if difference == 0 else f'{difference:,} UNACCOUNTED FOR: this is a bug'}"
    error = status.get("last_error")
    yield f"last error  {error['at']}: {error['error']}" if error else "last error  none"


def sample(url: str) -> Samples:
    """Look once. Raises ChillFlowError if nobody answers as we do."""
    found: defaultdict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
    code, text = get(url + METRICS)
    try:
        for family in text_string_to_metric_families(text if code == 200 else ""):
            for sample in family.samples:
                found[sample.name].append((sample.labels, sample.value))
    except ValueError:
        found.clear()
    if not found:
        raise ChillFlowError(f"{url} is no `assemble` of this release")
    return found


def _total(samples: Samples, name: str) -> float:
    return sum(value for _, value in samples.get(name, ()))


def _by(samples: Samples, name: str, label: str) -> dict[str, int]:
    return {labels[label]: int(value) for labels, value in samples.get(name, ())}


def _partitions(samples: Samples) -> Iterator[dict[str, Any]]:
    lag = _by(samples, "chillflow_consumer_lag_offsets", "partition")
    behind = {labels["partition"]: value for labels, value in samples.get("chillflow_consumer_lag_seconds", ())}
    in_flight = _by(samples, "chillflow_events_in_flight", "partition")
    for partition in sorted(in_flight, key=int):
        yield {
            "partition": int(partition),
            "lag_offsets": lag.get(partition),
            "lag_seconds": behind.get(partition),
            "in_flight": in_flight[partition],
        }
