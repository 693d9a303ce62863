"""Changes to the process for the time of a dataflow."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

__all__ = ["tuned_process"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""From glibc's malloc.h."""
_HEAP = 2**30


@contextmanager
def tuned_process() -> Iterator[None]:
    """Tune this process for a dataflow, and keep panics of Bytewax's threads off its stderr."""
    _keep_freed_memory()
    with _rare_collections(), _hidden_panics():
        yield


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Run the garbage collector rarely: states live long and hold no cycles.

    With thresholds of 100,000 the collector takes a tenth of the time.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory; does nothing without glibc.

    Otherwise the system takes back the pages of each batch and zeroes them for the next: a tenth of the time. Never
    undone, because malloc does not report its previous settings.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _HEAP)
        mallopt(_M_TRIM_THRESHOLD, _HEAP)


@contextmanager
def _hidden_panics() -> Iterator[None]:
    """Discard what Rust writes to stderr about a panic: the error is raised anyway.

    Python's own stderr is unaffected. With LOG_LEVEL=DEBUG panics are shown.
    """
    if os.environ.get("LOG_LEVEL") == "DEBUG":
        yield
        return
    python_stderr, real, hook = sys.stderr, os.dup(2), sys.excepthook
    sys.excepthook = _show
    with tempfile.TemporaryFile() as panics, os.fdopen(real, "w", buffering=1) as stderr:
        python_stderr.flush()
        sys.stderr = stderr
        os.dup2(panics.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            sys.stderr = python_stderr
            if hook is not sys.__excepthook__:
                sys.excepthook = hook


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The default hook without panics. Left in place at the end: Timely's threads may outlive the flow."""
    if "panicked at" not in str(error):  # so Bytewax reports a panic in one of Timely's threads
        sys.__excepthook__(kind, error, trace)
