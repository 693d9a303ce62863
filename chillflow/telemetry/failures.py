"""The first error of a source or a sink, kept because Bytewax may lose it.

In a cluster an error is a panic of the worker's thread, which poisons the queues to the other workers. The thread
that sends from them may see that before the error has come through, and all that is raised is "Send thread panic".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from chillflow.errors import ChillFlowError

__all__ = ["keeps_failures"]

T = TypeVar("T")
_METHODS = ("build_part", "next_batch", "write_batch", "snapshot")


def keeps_failures(cls: type[T]) -> type[T]:
    """Keep each error that comes out of the methods by which Bytewax uses this class in `self.telemetry.failures`."""
    for name in _METHODS:
        if name in vars(cls):
            setattr(cls, name, _keeping(vars(cls)[name]))
    return cls


def _keeping(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *arguments: Any) -> Any:
        try:
            return method(self, *arguments)
        except ChillFlowError as error:
            self.telemetry.failures.append(error)
            raise

    return call
