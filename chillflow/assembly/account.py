"""The account of assembly: the outcome of every event read. It always balances."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from chillflow.assembly.tallies import ACCOUNT

__all__ = ["add", "difference", "read_account"]


def add(total: dict[str, int] | None, change: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Add a change to the total: the mapper of the step that keeps the account."""
    total = dict.fromkeys(ACCOUNT, 0) | (total or {})
    for term, count in change.items():
        total[term] += count
    return total, total


def difference(account: Mapping[str, int]) -> int:
    """The number of events read minus those accounted for: anything but 0 is a bug."""
    terms = [term for term in ACCOUNT if term != "events" and not term.endswith("_trips")]
    return account["events"] - sum(account[term] for term in terms)


def read_account(path: Path) -> dict[str, int]:
    """The account in a file that `AccountFile` wrote; all zero before the first epoch has ended."""
    account = dict.fromkeys(ACCOUNT, 0)
    if path.exists():
        found = json.loads(path.read_text())  # the file also holds the window of the late share
        account.update({term: count for term, count in found.items() if term in account})
    return account
