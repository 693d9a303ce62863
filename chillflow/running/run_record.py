"""`monitoring.json` in the recovery directory: where a run is served, how often there was one, how the last ended."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

__all__ = ["FILE", "LastError", "RunRecord", "read", "started", "stopped"]

FILE = "monitoring.json"


class LastError(msgspec.Struct):
    """An error that ended a run."""

    at: datetime
    error: str


class RunRecord(msgspec.Struct):
    """What is kept."""

    starts: int = 0
    """Starts of `assemble` on this recovery directory."""
    pid: int | None = None
    url: str | None = None
    """Where the run of now is served. A run that was killed leaves its own behind."""
    last_error: LastError | None = None


def read(path: Path) -> RunRecord:
    """What the file says; an empty record if there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord)
    except (OSError, msgspec.MsgspecError):
        return RunRecord()


def started(path: Path, pid: int, url: str) -> RunRecord:
    """Keep that a run has started."""
    record = read(path)
    record.starts += 1
    record.pid, record.url = pid, url
    return _written(path, record)


def stopped(path: Path, error: Exception | None) -> None:
    """Keep that the run has ended, and by which error."""
    record = read(path)
    record.pid = record.url = None
    if error is not None:
        record.last_error = LastError(datetime.now(UTC), str(error))
    _written(path, record)


def _written(path: Path, record: RunRecord) -> RunRecord:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_bytes(msgspec.json.encode(record))
    scratch.replace(path)
    return record
