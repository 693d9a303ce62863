"""Metrics, progress, deliveries, failures and logs of a run.

Holds: `Telemetry`, one per run, given to its sources, sinks and endpoints, so that two runs in one process share
nothing. Everything reports to it; it imports no other room.
May import: errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chillflow.telemetry.telemetry import Telemetry

__all__ = ["Telemetry"]


def __getattr__(name: str) -> type[Telemetry]:
    """`Telemetry`, imported when it is asked for: pure modules of this room need no client of Prometheus."""
    if name != "Telemetry":
        raise AttributeError(name)
    from chillflow.telemetry.telemetry import Telemetry

    return Telemetry
