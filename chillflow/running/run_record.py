"""`monitoring.json` in the recovery directory: address of the run, number of starts, last error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

__all__ = ["FILE", "LastError", "RunRecord", "read", "recorded", "started", "stopped"]

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
    """Address of the current run; a killed run leaves its own behind."""
    last_error: LastError | None = None


def read(path: Path) -> RunRecord:
    """The record in the file; an empty one if there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord)
    except (OSError, msgspec.MsgspecError):
        return RunRecord()


@contextmanager
def recorded(path: Path, url: str) -> Iterator[RunRecord]:
    """Record a run of this process while the body runs it, and the error that ends it."""
    record = started(path, os.getpid(), url)
    failure: Exception | None = None
    try:
        yield record
    except Exception as error:
        failure = error
        raise
    finally:
        stopped(path, failure)


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
