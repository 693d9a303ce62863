"""Runs a dataflow in this process, and raises the ChillFlowError that stopped it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from bytewax._bytewax import cli_main
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig

from chillflow.errors import ChillFlowError
from chillflow.running.stopping import Drain, drain_limit

__all__ = ["LostWorkerError", "failure_of", "run_flow"]


def run_flow(
    flow: Dataflow,
    *,
    epoch_interval: timedelta,
    drain: Drain,
    recovery: RecoveryConfig | None = None,
    process_id: int | None = None,
    addresses: list[str] | None = None,
    failures: Sequence[ChillFlowError] = (),
) -> None:
    """Run the flow to its end, or until its sources have drained, which a signal requests through `drain`.

    Raises the ChillFlowError that stopped the flow, the first of `failures` if Bytewax lost it; else the root cause.
    """
    limit = drain_limit(epoch_interval) if addresses is None else None  # in a cluster the launcher has the limit
    with drain.on_signals(limit):
        try:
            cli_main(
                flow,
                process_id=process_id,
                addresses=addresses,
                epoch_interval=epoch_interval,
                recovery_config=recovery,
            )
        except BaseException as error:
            if (failure := failure_of(error, in_cluster=addresses is not None, failures=failures)) is error:
                raise
            raise failure from error


class LostWorkerError(ChillFlowError):
    """Another process of the cluster is gone, and the dataflow of this one cannot go on."""


def failure_of(error: BaseException, *, in_cluster: bool, failures: Sequence[ChillFlowError]) -> BaseException:
    """The ChillFlowError behind an error of Bytewax, else its root cause. Bytewax may have lost one of `failures`."""
    if not isinstance(error, Exception):
        if not in_cluster or type(error).__name__ != "PanicException":  # PyO3's, which cannot be imported
            return error
        return next(iter(failures), LostWorkerError(f"lost the connection to another worker ({error})"))
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ChillFlowError):
            return cause
        error, cause = cause, cause.__cause__ or cause.__context__
    return error if isinstance(error, Exception) else RuntimeError(str(error))
