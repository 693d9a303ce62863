"""The account of the assembly: what became of every event read. It always balances."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from chillflow.assembly import ACCOUNT

__all__ = ["AccountFile", "add", "difference", "read_account"]


def add(total: dict[str, int] | None, change: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Take a change into the total: the mapper of the step that keeps it."""
    total = dict.fromkeys(ACCOUNT, 0) | (total or {})  # an older store does not have all terms
    for name, count in change.items():
        total[name] += count
    return total, total


def difference(account: Mapping[str, int]) -> int:
    """Events read less events accounted for: 0, or the pipeline has a bug."""
    terms = [name for name in ACCOUNT if name != "events" and not name.endswith("_trips")]
    return account["events"] - sum(account[name] for name in terms)


def read_account(path: Path) -> dict[str, int]:
    """The account in a file that AccountFile wrote; all zero if there is none yet."""
    account = dict.fromkeys(ACCOUNT, 0)
    if path.exists():
        account.update(json.loads(path.read_text()))
    return account


Snapshot: TypeAlias = dict[str, int] | None
"""The account; None in older stores."""


@dataclass(frozen=True)
class AccountFile(FixedPartitionedSink[dict[str, int], Snapshot]):
    """Keeps the newest account in a file, written whole at the end of each epoch that changed it.

    The file may be of an epoch that a crash keeps from becoming durable. So the account is in the snapshot too, and a
    resumed run begins by writing the file anew: from then on it is of the last durable epoch, until the next
    epoch has ended and is not durable yet.
    """

    path: Path | None
    """None where there is no recovery store to keep it beside."""

    def list_parts(self) -> list[str]:
        return ["account"]

    def build_part(self, step_id: str, for_part: str, resume_state: Snapshot) -> _Partition:
        return _Partition(self.path, resume_state)


class _Partition(StatefulSinkPartition[dict[str, int], Snapshot]):
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
