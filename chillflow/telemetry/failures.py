"""Errors of sources and sinks, kept because Bytewax may lose them.

In a cluster an error panics the worker's thread, which breaks its queues to the other workers. If the sending thread
notices that first, Bytewax raises only "Send thread panic".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from chillflow.errors import ChillFlowError
from chillflow.telemetry.telemetry import Telemetry

__all__ = ["keeps_failures"]


class _Reporting(Protocol):
    @property
    def telemetry(self) -> Telemetry: ...


C = TypeVar("C", bound=type[_Reporting])
S = TypeVar("S", bound=_Reporting)
P = ParamSpec("P")
R = TypeVar("R")
_METHODS = ("build_part", "next_batch", "write_batch", "snapshot")


def keeps_failures(cls: C) -> C:
    """Append each ChillFlowError raised by the methods that Bytewax calls to `self.telemetry.failures`."""
    for name in _METHODS:
        if name in vars(cls):
            setattr(cls, name, _keeping(vars(cls)[name]))
    return cls


def _keeping(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    @wraps(method)
    def call(self: S, /, *arguments: P.args, **options: P.kwargs) -> R:
        try:
            return method(self, *arguments, **options)
        except ChillFlowError as error:
            self.telemetry.failures.append(error)
            raise

    return call
