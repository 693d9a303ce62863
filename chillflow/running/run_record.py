"""`monitoring.json` in the recovery directory: the address of the run, the number of starts, the last error."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

__all__ = ["FILE", "LastError", "RunRecord", "read", "started", "stopped"]

FILE = "monitoring.json"


class LastError(msgspec.Struct):
    """An error that ended a run."""

    at: datetime
    error: str


class RunRecord(msgspec.Struct):
    """The content of the file."""

    starts: int = 0
    """Starts of `assemble` on this recovery directory."""
    pid: int | None = None
    url: str | None = None
    """Address of the current run. A run that was killed leaves its own behind."""
    last_error: LastError | None = None


def read(path: Path) -> RunRecord:
    """The record in the file; an empty one if there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord)
    except (OSError, msgspec.MsgspecError):
        return RunRecord()


def started(path: Path, pid: int, url: str) -> RunRecord:
    """Record the start of a run."""
    record = read(path)
    record.starts += 1
    record.pid, record.url = pid, url
    return _written(path, record)


def stopped(path: Path, error: Exception | None, clock: Callable[[], datetime] = partial(datetime.now, UTC)) -> None:
    """Record the end of a run, and the error that ended it."""
    record = read(path)
    record.pid = record.url = None
    if error is not None:
        record.last_error = LastError(clock(), str(error))
    _written(path, record)


def _written(path: Path, record: RunRecord) -> RunRecord:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_bytes(msgspec.json.encode(record))
    scratch.replace(path)
    return record
