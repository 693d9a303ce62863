"""What one run measures and reports: metrics, progress, deliveries, failures, and logs.

Holds: `Telemetry`, one per run, handed to its sources, sinks and servers, so that two runs in one process share
nothing. A leaf: everything reports to it, and it imports no other room.
May import: errors.
"""

from __future__ import annotations

from chillflow.telemetry.telemetry import Telemetry

__all__ = ["Telemetry"]
