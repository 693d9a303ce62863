"""The sink that keeps the account of the assembly, and its late share, in a file next to the recovery store."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from chillflow.telemetry.clocks import Clocks
from chillflow.telemetry.late_share import LateShare, Totals

__all__ = ["AccountFile", "read_late_share"]

Snapshot: TypeAlias = dict[str, int] | None
"""The account; None in older recovery stores."""


class _File(msgspec.Struct):
    """What the file holds besides the terms of the account."""

    window: list[Totals] = []
    """The totals at the steps of the window of the late share."""


def read_late_share(path: Path) -> float | None:
    """The late share in a file that `AccountFile` wrote; None before there are events."""
    window = _read_window(path)
    return LateShare(window).value if window else None


def _read_window(path: Path) -> list[Totals]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).window
    except (FileNotFoundError, msgspec.MsgspecError):
        return []


@dataclass(frozen=True)
class AccountFile(FixedPartitionedSink[dict[str, int], Snapshot]):
    """Writes the newest account to a file, replaced atomically at the end of each epoch that changed it.

    A crash may leave the file of an epoch that did not become durable. So the account is also in the snapshot, and a
    resumed run first rewrites the file from it. The file is that of the last durable epoch, except between the end of
    an epoch and the moment it becomes durable. The window of the late share is only in the file: a resumed run
    continues it, or without a file starts a new one.
    """

    path: Path | None
    """None without a recovery store."""
    clocks: Clocks = field(default=Clocks(), repr=False, compare=False)

    def list_parts(self) -> list[str]:
        return ["account"]

    def build_part(self, step_id: str, for_part: str, resume_state: Snapshot) -> _AccountPartition:
        return _AccountPartition(self.path, self.clocks, resume_state)


class _AccountPartition(StatefulSinkPartition[dict[str, int], Snapshot]):
    def __init__(self, path: Path | None, clocks: Clocks, account: Snapshot) -> None:
        self._path = path
        self._clocks = clocks
        self._account = account or {}
        now = self._totals()
        window = _read_window(path) if path and account else []
        self._late = LateShare([*(each for each in window if each.events <= now.events), now])
        if account:
            self._write()

    def write_batch(self, values: list[dict[str, int]]) -> None:
        self._account = values[-1]

    def snapshot(self) -> Snapshot:
        self._late.observe(self._totals())
        self._write()
        return self._account

    def _totals(self) -> Totals:
        return Totals(self._clocks.wall(), self._account.get("events", 0), self._account.get("late", 0))

    def _write(self) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._path.with_suffix(".tmp")
        scratch.write_text(json.dumps(self._account | {"window": self._late.observed}))
        scratch.replace(self._path)
