"""The sink that keeps the account of the assembly in a file next to the recovery store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

__all__ = ["AccountFile"]

Snapshot: TypeAlias = dict[str, int] | None
"""The account; None in older recovery stores."""


@dataclass(frozen=True)
class AccountFile(FixedPartitionedSink[dict[str, int], Snapshot]):
    """Writes the newest account to a file, replaced atomically at the end of each epoch that changed it.

    A crash may leave the file of an epoch that did not become durable. So the account is also in the snapshot, and a
    resumed run first rewrites the file from it. The file is that of the last durable epoch, except between the end of
    an epoch and the moment it becomes durable.
    """

    path: Path | None
    """None without a recovery store."""

    def list_parts(self) -> list[str]:
        return ["account"]

    def build_part(self, step_id: str, for_part: str, resume_state: Snapshot) -> _AccountPartition:
        return _AccountPartition(self.path, resume_state)


class _AccountPartition(StatefulSinkPartition[dict[str, int], Snapshot]):
    def __init__(self, path: Path | None, account: Snapshot) -> None:
        self._path = path
        self._account = account or {}
        if account:
            self._write()

    def write_batch(self, values: list[dict[str, int]]) -> None:
        self._account = values[-1]

    def snapshot(self) -> Snapshot:
        self._write()
        return self._account

    def _write(self) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._path.with_suffix(".tmp")
        scratch.write_text(json.dumps(self._account))
        scratch.replace(self._path)
