"""Is this process doing its work? Each check answers with what is wrong, or None."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from chillflow.connectors import open_database
from chillflow.errors import ChillFlowError
from chillflow.running.lag import Lag
from chillflow.running.probe import Probe
from chillflow.settings import Settings
from chillflow.telemetry import Telemetry

__all__ = ["HealthChecks"]

_TIMEOUT = timedelta(seconds=2)


class HealthChecks:
    """The checks of a run in one process that is to read at least so many partitions."""

    def __init__(self, settings: Settings, telemetry: Telemetry, lag: Lag, partitions: int) -> None:
        self._telemetry = telemetry
        self._settings = settings
        self._partitions = partitions
        self._checks: dict[str, Callable[[], str | None]] = {
            "sources": self._sources,
            "broker": lag.problem,
            "epoch": self._epoch,
            "delivery": telemetry.deliveries.problem,
        }
        if settings.database_url:
            self._database_probe = Probe(self._ask_database)
            self._checks["database"] = self._database

    def checks(self) -> dict[str, str | None]:
        """What is wrong, by check; also shown as metrics."""
        found = {name: check() for name, check in self._checks.items()}
        for name, problem in found.items():
            self._telemetry.metrics.check_ok.labels(name).set(problem is None)
        return found

    def _sources(self) -> str | None:
        assigned = len(self._telemetry.readings)
        return None if assigned >= self._partitions else f"{assigned} of {self._partitions} partitions are assigned"

    def _epoch(self) -> str | None:
        if not self._telemetry.readings and not self._partitions:
            return None  # epochs are seen by sources, and this worker has none
        age, limit = self._telemetry.epochs.age, self._settings.ready_epoch_limit.total_seconds()
        if age is None:
            return "no epoch has become durable yet"
        return None if age <= limit else f"the last epoch became durable {age:.0f} s ago (limit {limit:g} s)"

    def _database(self) -> str | None:
        try:
            self._database_probe.answer()
        except ChillFlowError as error:
            return str(error)
        return None

    def _ask_database(self) -> None:
        """Over a new connection each time: one that is kept may have been cut without a word."""
        database = open_database(self._settings.model_copy(update={"kafka_timeout": _TIMEOUT}))
        try:
            database.check()
        finally:
            database.close()
