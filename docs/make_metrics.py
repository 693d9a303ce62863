"""Writes docs/metrics.md from `chillflow.telemetry.metrics`: `python docs/make_metrics.py`."""

from __future__ import annotations

from pathlib import Path

from chillflow.telemetry.metrics import Described, Metrics
from chillflow.telemetry.reasons import REASONS

PAGE = Path(__file__).with_name("metrics.md")
HEAD = """\
# Metrics

<!-- Made by docs/make_metrics.py. A test compares: run `python docs/make_metrics.py` after a change. -->

`assemble` serves these at `/metrics`, in Prometheus' format: see [operations.md](operations.md#health-and-monitoring).
Each series has the label `worker`, the number of the process. With several workers one address serves them all side
by side, and none is added up.

Counters begin at 0 when a process starts, as Prometheus expects, unless it says otherwise. What says *as of the last
durable epoch* is the account (see [design.md](design.md#assembly)), the same as in `assemble --json`: a crash takes
nothing back of it. One worker shows it, the one that reads partition 0. What is not known is absent, not 0.

"""
TAIL = """
Of each process there are besides `process_cpu_seconds_total`, `process_resident_memory_bytes`,
`process_start_time_seconds` and others of their kind.
"""


def page() -> str:
    """The page, whole."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|", *map(_row, Metrics().described)]
    reasons = ["", "| stage | kinds of reason |", "|---|---|", *map(_reasons, sorted({stage for stage, _ in REASONS}))]
    return HEAD + "\n".join([*rows, *reasons]) + "\n" + TAIL


def _row(metric: Described) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels if label != "worker")
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |"


def _reasons(stage: str) -> str:
    return f"| `{stage}` | {', '.join(f'`{kind}`' for found, kind in REASONS if found == stage)} |"


if __name__ == "__main__":
    PAGE.write_text(page())
