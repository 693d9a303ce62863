"""Read-only inspection of a recovery directory, whether or not `assemble` runs on it."""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from chillflow.errors import RecoveryError
from chillflow.running.recovery import STORE_FILES, lock_files

__all__ = ["StoreInfo", "inspect_store"]


class StoreInfo(NamedTuple):
    """The state of a recovery store."""

    locked: bool
    """Whether an `assemble` runs on it."""
    parts: int
    """Number of its files."""
    expected: int
    """Number of files it was created with."""
    epoch: int | None
    """The last durable epoch."""
    written: datetime
    """Time of the last write: each epoch writes."""
    size: int
    """Bytes."""


def inspect_store(folder: Path) -> StoreInfo | None:
    """The store of this directory; None if there is none. Raises RecoveryError if it cannot be read."""
    parts = sorted(folder.glob(STORE_FILES))
    if not parts:
        return None
    # Not the -shm files, which readers write to, too. A journal created by a reader is empty.
    kept = [*parts, *folder.glob(f"{STORE_FILES}-wal")]
    files = [status for path in kept if (status := path.stat()).st_size]
    expected, frontiers = 0, list[tuple[int, int]]()
    for path in parts:
        try:
            with closing(sqlite3.connect(_uri(path), uri=True)) as connection:
                ((expected,),) = connection.execute("select max(part_count) from parts")
                frontiers += connection.execute("select ex_num, worker_frontier from fronts")
        except sqlite3.Error as error:
            raise RecoveryError(f"{path} cannot be read: {error}") from error
    return StoreInfo(
        locked=any(_is_locked(path) for path in lock_files(folder)),
        parts=len(parts),
        expected=expected or 0,
        epoch=_epoch(frontiers),
        written=datetime.fromtimestamp(max(status.st_mtime for status in files), UTC),
        size=sum(status.st_size for status in files),
    )


def _is_locked(lock: Path) -> bool:
    """Whether a process holds this lock. The test refuses a process that requests the lock at the same moment."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def _epoch(frontiers: list[tuple[int, int]]) -> int | None:
    """The last epoch that all workers of the last execution finished, from pairs (execution, epoch in progress)."""
    if not frontiers:
        return None
    last = max(execution for execution, _ in frontiers)
    return min(frontier for execution, frontier in frontiers if execution == last) - 1


def _uri(path: Path) -> str:
    """A read-only URI; immutable if there is no journal, so that SQLite creates none."""
    has_journal = path.with_name(path.name + "-wal").exists()
    return f"{path.resolve().as_uri()}?{'mode=ro' if has_journal else 'immutable=1'}"
