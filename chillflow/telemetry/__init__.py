"""Metrics, progress, deliveries, failures and logs of a run.

Holds: `Telemetry`, one per run, given to its sources, sinks and endpoints, so that two runs in one process share
nothing. Everything reports to it; it imports no other room.
May import: errors.
"""

from __future__ import annotations

from chillflow.telemetry.telemetry import Telemetry

__all__ = ["Telemetry"]
