"""The recovery directory: made at the first start, locked, and bound to the pipeline that made it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from bytewax.recovery import RecoveryConfig, init_db_dir

from chillflow.errors import RecoveryError
from chillflow.keyed import group as keygroup
from chillflow.keyed.versions import refuse_newer
from chillflow.settings import Settings

__all__ = [
    "ACCOUNT_FILE",
    "LOCK_FILE",
    "are_placed",
    "bind",
    "check_identity",
    "drained_folder",
    "is_new",
    "last_hold",
    "locked",
    "recovery_store",
    "remove_store",
]

ACCOUNT_FILE = "account.json"
LOCK_FILE = "lock"
_IDENTITY_FILE = "pipeline.json"
_DRAINED = "drained"
_FILES = (
    "part-*.sqlite3*",
    ACCOUNT_FILE,
    _IDENTITY_FILE,
    "monitoring.json",
    "worker-*.json",
    f"{_DRAINED}/*",
    "account.tmp",
    "monitoring.tmp",
    "worker-*.tmp",
)
"""What is in the directory beside the locks."""
_PARTITIONS = 4
"""SQLite files of the store, fixed when it is made: more than this many processes write no faster."""


@contextmanager
def recovery_store(settings: Settings, partitions: int, topic_id: str | None) -> Iterator[RecoveryConfig]:
    """The store of the assembly of a topic with so many partitions, held by this process alone.

    Raises RecoveryError if another instance holds it, or it was made by a pipeline of another shape.
    """
    folder = settings.recovery_dir
    _make(folder)
    with locked(folder / LOCK_FILE):
        bind(folder, settings, partitions, topic_id)
        if is_new(folder):
            init_db_dir(folder, _PARTITIONS)
        yield RecoveryConfig(str(folder), timedelta(0))


def drained_folder(settings: Settings) -> Path:
    """Where the processes of a cluster put a file for each partition that is drained."""
    return settings.recovery_dir / _DRAINED


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file while the body runs; the system lets it go with the process."""
    try:
        file = path.open("w")
    except OSError as error:
        raise RecoveryError(f"cannot use the recovery directory {path.parent}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RecoveryError(
                f"another `assemble` runs on {path.parent}: stop it, or set CHILLFLOW_RECOVERY_DIR"
            ) from error
        yield


@contextmanager
def last_hold(folder: Path) -> Iterator[None]:
    """Hold a recovery directory against all instances while the body removes what belongs to it.

    At its end the directory goes too, unless there is something else in it. Raises RecoveryError if an instance
    holds it.
    """
    _make(folder)
    with ExitStack() as stack:
        for lock in {folder / LOCK_FILE, *folder.glob(f"{LOCK_FILE}-*")}:
            stack.enter_context(locked(lock))
        yield
        _remove(folder, f"{LOCK_FILE}*")
        with suppress(OSError):
            folder.rmdir()


def remove_store(folder: Path) -> None:
    """Remove the recovery store and what is kept beside it."""
    _remove(folder, *_FILES)
    with suppress(OSError):
        (folder / _DRAINED).rmdir()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecoveryError(f"cannot use the recovery directory {folder}: {error.strerror}") from error


def _remove(folder: Path, *patterns: str) -> None:
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        path.unlink()


def is_new(folder: Path) -> bool:
    """Whether no recovery store has been made there yet."""
    return not any(folder.glob("part-*.sqlite3"))


def are_placed(folder: Path) -> bool:
    """Whether the key groups of the store there have names that Bytewax spreads evenly, as all but old ones have."""
    found = _found(folder)
    return bool(found.get("placed", not found))


def _found(folder: Path) -> dict[str, Any]:
    """What is kept of the pipeline that made the store; nothing where there is none."""
    path = folder / _IDENTITY_FILE
    try:
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise RecoveryError(f"{path} cannot be read: {error}") from error
    return found


def bind(folder: Path, settings: Settings, partitions: int, topic_id: str | None) -> None:
    """Keep in the directory what its store is for. Raises RecoveryError if it is for something else."""
    identity = check_identity(folder, settings, partitions, topic_id)
    (folder / _IDENTITY_FILE).write_text(json.dumps(identity))


def check_identity(folder: Path, settings: Settings, partitions: int, topic_id: str | None = None) -> dict[str, Any]:
    """Raise RecoveryError if the store there was made by a pipeline of another shape; the shape of this one.

    Positions and key groups of one topic mean nothing for another, nor where a key is in another partition.
    """
    identity: dict[str, Any] = {
        "topic": settings.topic,
        "partitions": partitions,
        "key_groups": settings.key_groups,
        "stream_time_rank": settings.stream_time_rank,
        "windows": [length // timedelta(minutes=1) for length in settings.window_lengths],
    }
    found = _found(folder)
    refuse_newer("key groups", found.get("version", 0), keygroup.VERSION)
    if topic_id is not None and found.setdefault("topic_id", topic_id) != topic_id:
        raise RecoveryError(
            f"topic {settings.topic!r} has been made anew since the recovery store in {folder} was: what it held is"
            " lost to this store, begin anew (see docs/operations.md)"
        )
    for name, value in identity.items():
        if found.get(name, value) != value:
            raise RecoveryError(
                f"the recovery store in {folder} was made with {name}={found.get(name)}, not {value}:"
                " use that, or another CHILLFLOW_RECOVERY_DIR"
            )
    return {**identity, "topic_id": topic_id, "version": keygroup.VERSION, "placed": are_placed(folder)}
