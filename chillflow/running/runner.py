"""Runs a dataflow in this process, with its first error as ours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from bytewax._bytewax import cli_main
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig

from chillflow.errors import ChillFlowError
from chillflow.running.stopping import Drain, drain_limit

__all__ = ["LostWorkerError", "run_flow"]


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
    """Run the flow to its end, or until a signal asks `drain`, which its sources look at.

    Raises the ChillFlowError that stopped it: where Bytewax has lost it, the first of `failures`.
    """
    limit = drain_limit(epoch_interval) if addresses is None else None  # of a cluster, the launcher has a limit
    with drain.on_signals(limit):
        try:
            cli_main(
                flow,
                process_id=process_id,
                addresses=addresses,
                epoch_interval=epoch_interval,
                recovery_config=recovery,
            )
        except Exception as error:
            raise _ours(error) from error
        except BaseException as error:
            if addresses is None or type(error).__name__ != "PanicException":  # PyO3's, which cannot be imported
                raise
            lost = LostWorkerError(f"the connection to another worker is lost ({error})")
            raise next(iter(failures), lost) from error


class LostWorkerError(ChillFlowError):
    """A process of the cluster has gone, and with it this one's part in the dataflow."""


def _ours(error: BaseException) -> Exception:
    """The error of ours that Bytewax has wrapped in its own, or else the first cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ChillFlowError):
            return cause
        error, cause = cause, cause.__cause__ or cause.__context__
    return error if isinstance(error, Exception) else RuntimeError(str(error))
