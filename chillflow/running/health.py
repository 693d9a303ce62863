"""Health checks of a process. Each returns a problem, or None."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from chillflow.running.lag import Lag
from chillflow.running.probe import Probe
from chillflow.telemetry import Telemetry
from chillflow.telemetry.late_share import warning

__all__ = ["HealthChecks"]


class HealthChecks:
    """The checks of a process that should read at least `partitions` partitions."""

    def __init__(
        self,
        telemetry: Telemetry,
        lag: Lag,
        partitions: int,
        *,
        epoch_limit: timedelta,
        check_database: Callable[[], None] | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._partitions = partitions
        self._epoch_limit = epoch_limit.total_seconds()
        self._checks: dict[str, Callable[[], str | None]] = {
            "sources": self._sources,
            "broker": lag.problem,
            "epoch": self._epoch,
            "delivery": telemetry.deliveries.problem,
        }
        if check_database is not None:
            self._checks["database"] = Probe(check_database).problem

    def checks(self) -> dict[str, str | None]:
        """Run all checks: the problem of each, or None. Sets the metric `chillflow_check_ok`."""
        found = {name: check() for name, check in self._checks.items()}
        for name, problem in found.items():
            self._telemetry.metrics.check_ok.labels(name).set(problem is None)
        return found

    def warnings(self) -> list[str]:
        """What is wrong although the process is ready: a restart would not help."""
        late = warning(self._telemetry.late_share)
        return [late] if late else []

    def _sources(self) -> str | None:
        assigned = len(self._telemetry.readings)
        return None if assigned >= self._partitions else f"{assigned} of {self._partitions} partitions are assigned"

    def _epoch(self) -> str | None:
        if not self._telemetry.readings and not self._partitions:
            return None  # sources observe epochs, and this worker has none
        age = self._telemetry.epochs.age
        if age is None:
            return "no epoch has become durable yet"
        limit = self._epoch_limit
        return None if age <= limit else f"the last epoch became durable {age:.0f} s ago (limit {limit:g} s)"
