"""What a command may do to the process it runs in, since the process is its own, and undone at the end."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

__all__ = ["owned_process"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""
_HEAP = 2**30


@contextmanager
def owned_process() -> Iterator[None]:
    """Tune this process for a dataflow, and keep the panics of Bytewax's threads off its stderr."""
    _keep_memory()
    with _rare_collections(), _without_panics():
        yield


@contextmanager
def _rare_collections() -> Iterator[None]:
    """States live long and hold no cycles: with thresholds of 100,000 the collector takes a tenth of the time."""
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _keep_memory() -> None:
    """Let glibc keep what is freed.

    Batches come and go, and each time the system would clear their pages anew, which takes a tenth of the time. Without
    glibc nothing happens. The setting stays: malloc does not tell what it was before.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _HEAP)
        mallopt(_M_TRIM_THRESHOLD, _HEAP)


@contextmanager
def _without_panics() -> Iterator[None]:
    """Keep what Rust writes about a panic off the terminal: the error itself is raised and shown.

    Python's own stderr goes on to where it went. With LOG_LEVEL=DEBUG everything is left as it is.
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
    """Threads of Timely may outlive the flow, so this stays where there was no other hook."""
    if "panicked at" not in str(error):  # what Bytewax makes of a panic in a thread of Timely
        sys.__excepthook__(kind, error, trace)
