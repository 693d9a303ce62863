"""The account as metrics: that of the last durable epoch, never a later one.

The account file is written in the snapshot of its sink, so in between it is of an epoch that may not become
durable. When a source reads on after a snapshot, that epoch is durable on all workers; and the next cannot end
anywhere before this source has ended it too. So at that moment, and in any process, the file is of the last
durable epoch. A resumed run begins by writing it anew from the recovery store (`AccountFile`). Of the sources only
that of the first partition looks: N workers would show N times the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from chillflow.account import difference, read_account
from chillflow.monitoring.metrics import ACCOUNT_DIFFERENCE, ACCOUNT_EVENTS, ACCOUNT_READ, ACCOUNT_TRIPS, LOCK, show

__all__ = ["publish", "publish_file"]

_shown = 0
"""Events of the account that was shown last."""


def publish(account: Mapping[str, int]) -> None:
    """Show an account, all its terms at once."""
    global _shown
    with LOCK:
        ACCOUNT_READ.inc(max(0, account["events"] - _shown))
        _shown = account["events"]
        for name, count in account.items():
            if name.endswith("_trips"):
                ACCOUNT_TRIPS.labels(name.removesuffix("_trips")).set(count)
            elif name != "events":
                ACCOUNT_EVENTS.labels(name.removeprefix("events_in_")).set(count)
        ACCOUNT_DIFFERENCE.set(difference(account))
        show(ACCOUNT_READ, ACCOUNT_DIFFERENCE)


def publish_file(path: Path) -> None:
    """Show the account of this file. To be called when an epoch has become durable."""
    publish(read_account(path))
