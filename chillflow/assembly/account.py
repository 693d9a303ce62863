"""The account of the assembly: what became of every event read. It always balances."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from chillflow.assembly.rules import ACCOUNT

__all__ = ["add", "difference", "read_account"]


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
