"""Is this process doing its work? Each check answers with what is wrong, or None."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from chillflow.connectors import open_database
from chillflow.errors import ChillFlowError
from chillflow.monitoring import delivery
from chillflow.monitoring.lag import Lag
from chillflow.monitoring.metrics import CHECK_OK
from chillflow.monitoring.probe import Probe
from chillflow.monitoring.progress import epochs, readings
from chillflow.settings import Settings

__all__ = ["Health"]

_TIMEOUT = timedelta(seconds=2)


class Health:
    """The checks of one process that is to read at least so many partitions."""

    def __init__(self, settings: Settings, lag: Lag, partitions: int) -> None:
        self._settings = settings
        self._partitions = partitions
        self._checks: dict[str, Callable[[], str | None]] = {
            "sources": self._sources,
            "broker": lag.problem,
            "epoch": self._epoch,
            "delivery": delivery.problem,
        }
        if settings.database_url:
            self._database_probe = Probe(self._ask_database)
            self._checks["database"] = self._database

    def checks(self) -> dict[str, str | None]:
        """What is wrong, by check; also shown as metrics."""
        found = {name: check() for name, check in self._checks.items()}
        for name, problem in found.items():
            CHECK_OK.labels(name).set(problem is None)
        return found

    def _sources(self) -> str | None:
        assigned = len(readings())
        return None if assigned >= self._partitions else f"{assigned} of {self._partitions} partitions are assigned"

    def _epoch(self) -> str | None:
        if not readings() and not self._partitions:
            return None  # epochs are seen by sources, and this worker has none
        if epochs.last is None:
            return "no epoch has become durable yet"
        age, limit = time.time() - epochs.last, self._settings.ready_epoch_limit.total_seconds()
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
