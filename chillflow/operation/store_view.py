"""A recovery directory seen from outside, while `assemble` runs on it or not. Nothing in it is changed."""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from chillflow.errors import RecoveryError

__all__ = ["Store", "is_held", "look"]


class Store(NamedTuple):
    """What is known of a recovery store."""

    held: bool
    """Whether an `assemble` runs on it."""
    parts: int
    """Files it has."""
    expected: int
    """Files it was made with."""
    epoch: int | None
    """The last durable epoch, if there was one."""
    written: datetime
    """When it was last written to: each epoch does."""
    size: int
    """Bytes."""


def look(folder: Path) -> Store | None:
    """The store of this directory; None if none has been made. Raises RecoveryError if it cannot be read."""
    parts = sorted(folder.glob("part-*.sqlite3"))
    if not parts:
        return None
    # What readers share is written by every look, and a journal that one of them has made is empty.
    kept = [*parts, *folder.glob("part-*.sqlite3-wal")]
    files = [status for path in kept if (status := path.stat()).st_size]
    expected, frontiers = 0, list[tuple[int, int]]()
    for path in parts:
        try:
            with closing(sqlite3.connect(_uri(path), uri=True)) as connection:
                ((expected,),) = connection.execute("select max(part_count) from parts")
                frontiers += connection.execute("select ex_num, worker_frontier from fronts")
        except sqlite3.Error as error:
            raise RecoveryError(f"{path} cannot be read: {error}") from error
    return Store(
        held=any(is_held(path) for path in folder.glob("lock*")),
        parts=len(parts),
        expected=expected or 0,
        epoch=_epoch(frontiers),
        written=datetime.fromtimestamp(max(status.st_mtime for status in files), UTC),
        size=sum(status.st_size for status in files),
    )


def is_held(lock: Path) -> bool:
    """Whether a process holds this lock file.

    A process that asks for the lock in the same instant is refused.
    """
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def _epoch(frontiers: list[tuple[int, int]]) -> int | None:
    """What the slowest worker of the last execution has done, given the epochs that each is at."""
    if not frontiers:
        return None
    last = max(execution for execution, _ in frontiers)
    return min(frontier for execution, frontier in frontiers if execution == last) - 1


def _uri(path: Path) -> str:
    """Read-only, and without a journal of our own where nobody else has one."""
    has_journal = path.with_name(path.name + "-wal").exists()
    return f"{path.resolve().as_uri()}?{'mode=ro' if has_journal else 'immutable=1'}"
