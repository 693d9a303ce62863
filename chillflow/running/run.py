"""One run of the assembly in one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from chillflow.running.stopping import Drain
from chillflow.telemetry import Telemetry

__all__ = ["Run"]


@dataclass(frozen=True)
class Run:
    """One run: where it reports, and when it stops. Two runs in one process share nothing."""

    telemetry: Telemetry = field(default_factory=Telemetry)
    drain: Drain = field(default_factory=Drain)
    exit_at_end: bool = False
    """Whether to stop at the end offset that each partition had when the run started."""
    close_all: bool = False
    """Whether to close open trips at that end."""
    account_file: Path | None = None
    """File for the account; None without a recovery directory."""
    drained: Path | None = None
    """Folder where a process of a cluster reports the partitions it has drained."""
    ended: list[Callable[[], None]] | None = None
    """Collects callbacks to call once the flow has ended (see `LogSource`)."""
