"""Runs a dataflow in this process, with its first error as ours."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import TracebackType

from bytewax._bytewax import cli_main
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig

from chillflow.connectors.failure import first_failure
from chillflow.errors import ChillFlowError
from chillflow.running import drain

__all__ = ["LostWorkerError", "run_flow"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""
_HEAP = 2**30


def run_flow(
    flow: Dataflow,
    *,
    epoch_interval: timedelta,
    recovery: RecoveryConfig | None = None,
    process_id: int | None = None,
    addresses: list[str] | None = None,
) -> None:
    """Run the flow to its end, or until a signal asks to drain. Raises the ChillFlowError that stopped it."""
    drain.install(drain.limit(epoch_interval) if addresses is None else None)  # of a cluster, the launcher has a limit
    # States live long and hold no cycles. With thresholds of 100,000 the collector takes a tenth of the time.
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 100)
    _keep_memory()
    try:
        with _without_panics():
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
        raise first_failure() or LostWorkerError(f"the connection to another worker is lost ({error})") from error
    finally:
        drain.done()


def _keep_memory() -> None:
    """Let glibc keep what is freed: batches come and go, and each time the system would clear their pages anew, which
    takes a tenth of the time. Elsewhere than with glibc nothing happens.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _HEAP)
        mallopt(_M_TRIM_THRESHOLD, _HEAP)


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


@contextmanager
def _without_panics() -> Iterator[None]:
    """Keep what Rust writes about a panic off the terminal: the error itself is raised and shown.

    Python's own stderr goes on to where it went. With LOG_LEVEL=DEBUG everything is left as it is.
    """
    if os.environ.get("LOG_LEVEL") == "DEBUG":
        yield
        return
    sys.excepthook = _show  # to stay: threads of Timely may outlive the flow
    python_stderr, real = sys.stderr, os.dup(2)
    with tempfile.TemporaryFile() as panics, os.fdopen(real, "w", buffering=1) as stderr:
        python_stderr.flush()
        sys.stderr = stderr
        os.dup2(panics.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            sys.stderr = python_stderr


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if "panicked at" not in str(error):  # what Bytewax makes of a panic in a thread of Timely
        sys.__excepthook__(kind, error, trace)
