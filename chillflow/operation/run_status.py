"""The job of `status`: the state of a running `assemble`, from its metrics and readiness."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NotRequired, TypeAlias, TypedDict

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from chillflow.errors import ChillFlowError
from chillflow.running import run_record
from chillflow.running.http_client import get
from chillflow.running.http_server import METRICS, READY
from chillflow.telemetry.clocks import Clocks

__all__ = [
    "LastErrorStatus",
    "PartitionStatus",
    "Samples",
    "Status",
    "describe",
    "find",
    "measure",
    "sample",
    "status",
    "watermarks",
]

_SECONDS = 1.0
"""Time between two samples, over which throughput is measured."""

Samples: TypeAlias = Mapping[str, list[tuple[dict[str, str], float]]]
"""The content of /metrics: labels and value of each series, by metric."""


class PartitionStatus(TypedDict):
    """Progress of one partition, None where unknown."""

    partition: int
    lag_offsets: int | None
    lag_seconds: float | None
    """Event time."""
    in_flight: int
    """Events of epochs that are not durable yet."""
    watermark: float | None
    """The watermark reached, seconds since 1970."""


class LastErrorStatus(TypedDict):
    """The error that ended the last failed run."""

    at: str
    error: str


class Status(TypedDict):
    """The state of a run."""

    url: str
    ready: bool
    problems: list[str]
    """Why it is not ready."""
    warnings: list[str]
    """What is wrong although it is ready."""
    workers: int
    events_per_second: float
    partitions: list[PartitionStatus]
    trips: dict[str, int]
    """Trips of the account by state; empty until an epoch is durable."""
    events: dict[str, int]
    """Events of the account by outcome."""
    read: int
    difference: int
    """Events unaccounted for."""
    late_share: float | None
    """Share of late events among the newest, 0 to 1; None without events."""
    starts: int
    """Runs on this recovery directory."""
    since: float | None
    """Start of the oldest process, seconds since 1970."""
    last_error: NotRequired[LastErrorStatus | None]
    """Only for a run found by its recovery directory."""


def status(recovery_dir: Path, url: str | None = None) -> Status:
    """The status of the `assemble` on this recovery directory, or served at `url`. Takes a second.

    Raises ChillFlowError if none runs there.
    """
    if url is not None:
        return measure(url.rstrip("/"))
    found = measure(find(recovery_dir))
    found["last_error"] = msgspec.to_builtins(run_record.read(recovery_dir / run_record.FILE).last_error)
    return found


def find(folder: Path) -> str:
    """Address of the `assemble` that uses this recovery directory. Raises ChillFlowError if none runs."""
    kept = run_record.read(folder / run_record.FILE)
    try:
        if kept.url is not None and json.loads(get(kept.url + READY)[1])["pid"] == kept.pid:
            return kept.url
    except (ChillFlowError, ValueError, LookupError):
        pass  # it was killed, and another program may have its port
    ended = f" (the last error: {kept.last_error.error})" if kept.last_error is not None else ""
    raise ChillFlowError(f"no `assemble` runs on {folder}{ended}")


def measure(url: str, clocks: Clocks = Clocks()) -> Status:
    """The status from two samples a second apart. Raises ChillFlowError if no `assemble` answers."""
    first, start = sample(url), clocks.monotonic()
    clocks.sleep(_SECONDS)
    return describe(url, first, sample(url), clocks.monotonic() - start)


def describe(url: str, first: Samples, samples: Samples, seconds: float) -> Status:
    """The status from two samples `seconds` apart. Raises ChillFlowError if no `assemble` answers."""
    try:
        ready = json.loads(get(url + READY)[1])
        read = _total(samples, "chillflow_read_events_total") - _total(first, "chillflow_read_events_total")
        return {
            "url": url,
            "ready": ready["ready"],
            "problems": ready["problems"],
            "warnings": ready["warnings"],
            "workers": len(samples["chillflow_worker_up"]),
            "events_per_second": round(max(0.0, read) / seconds, 1),
            "partitions": [*_partitions(samples)],
            "trips": _by(samples, "chillflow_account_trips", "state"),
            "events": _by(samples, "chillflow_account_events", "outcome"),
            "read": int(_total(samples, "chillflow_account_read_events_total")),
            "difference": int(_total(samples, "chillflow_account_difference_events")),
            "late_share": max((value for _, value in samples.get("chillflow_late_share", ())), default=None),
            "starts": int(_total(samples, "chillflow_starts_total")),
            "since": min((value for _, value in samples.get("process_start_time_seconds", ())), default=None),
        }
    except (ValueError, LookupError) as error:
        raise ChillFlowError(f"{url} is no `assemble` of this release") from error


def sample(url: str) -> Samples:
    """Query the metrics. Raises ChillFlowError if no `assemble` answers."""
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


def watermarks(samples: Samples) -> dict[int, float]:
    """The watermark that each partition has reached, in seconds since 1970; without those that have none yet."""
    found = samples.get("chillflow_watermark_timestamp_seconds", ())
    return {int(labels["partition"]): value for labels, value in found}


def _total(samples: Samples, name: str) -> float:
    return sum(value for _, value in samples.get(name, ()))


def _by(samples: Samples, name: str, label: str) -> dict[str, int]:
    return {labels[label]: int(value) for labels, value in samples.get(name, ())}


def _partitions(samples: Samples) -> Iterator[PartitionStatus]:
    lag = _by(samples, "chillflow_consumer_lag_offsets", "partition")
    seconds = {labels["partition"]: value for labels, value in samples.get("chillflow_consumer_lag_seconds", ())}
    in_flight = _by(samples, "chillflow_events_in_flight", "partition")
    reached = watermarks(samples)
    for partition in sorted(in_flight, key=int):
        yield {
            "partition": int(partition),
            "lag_offsets": lag.get(partition),
            "lag_seconds": seconds.get(partition),
            "in_flight": in_flight[partition],
            "watermark": reached.get(int(partition)),
        }
