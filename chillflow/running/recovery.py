"""The recovery directory: created at the first start, locked during a run, and bound to one pipeline."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import msgspec
from bytewax.recovery import RecoveryConfig, init_db_dir

from chillflow.errors import RecoveryError
from chillflow.keyed.versions import refuse_newer

__all__ = [
    "ACCOUNT_FILE",
    "STORE_FILES",
    "VERSION",
    "PipelineIdentity",
    "bind",
    "check_identity",
    "drained_folder",
    "is_new",
    "lock_file",
    "lock_files",
    "locked",
    "locked_for_removal",
    "recovery_store",
    "remove_store",
]

VERSION = 1
"""Version of the whole store, in `pipeline.json`; its parts have their own versions."""
ACCOUNT_FILE = "account.json"
_LOCK = "lock"
STORE_FILES = "part-*.sqlite3"
"""Pattern of the SQLite files of the store; SQLite's journals are next to them."""
_IDENTITY_FILE = "pipeline.json"
_DRAINED = "drained"
_FILES = (
    f"{STORE_FILES}*",
    ACCOUNT_FILE,
    _IDENTITY_FILE,
    "monitoring.json",
    "worker-*.json",
    f"{_DRAINED}/*",
    "account.tmp",
    "pipeline.*.tmp",
    "monitoring.tmp",
    "worker-*.tmp",
)
"""The files of the directory, except the locks."""
_PARTITIONS = 4
"""SQLite files of the store, fixed at its creation: more processes than this write no faster."""


class PipelineIdentity(msgspec.Struct, frozen=True):
    """The settings that the offsets, key groups and windows in a store depend on: fixed once the store exists.

    Offsets of one topic mean nothing in another, and another number of partitions moves keys to other key groups.
    """

    topic: str
    partitions: int
    key_groups: int
    stream_time_rank: int
    windows: list[int]
    """Lengths in minutes, the shortest first."""
    topic_id: str | None = None
    """Distinguishes the topic from an earlier one of its name; None if unknown."""


class _IdentityFile(PipelineIdentity, frozen=True, kw_only=True):
    version: int


class _Versioned(msgspec.Struct):
    version: int


@contextmanager
def recovery_store(folder: Path, identity: PipelineIdentity) -> Iterator[RecoveryConfig]:
    """The recovery store of this pipeline in `folder`: created if missing, and locked while the body runs.

    Raises RecoveryError if another instance holds it or it belongs to a different pipeline.
    """
    _create(folder)
    with locked(lock_file(folder)):
        bind(folder, identity)
        if is_new(folder):
            init_db_dir(folder, _PARTITIONS)
        yield RecoveryConfig(str(folder), timedelta(0))


def drained_folder(folder: Path) -> Path:
    """The folder in which the processes of a cluster create a file for each partition they have drained."""
    return folder / _DRAINED


def lock_file(folder: Path, number: int | None = None) -> Path:
    """The lock of a recovery directory, or of worker `number` of a cluster on it."""
    return folder / (_LOCK if number is None else f"{_LOCK}-{number}")


def lock_files(folder: Path) -> list[Path]:
    """All locks of a recovery directory that have been made."""
    return [*folder.glob(f"{_LOCK}*")]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a file while the body runs; the system releases the lock if the process dies."""
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
def locked_for_removal(folder: Path) -> Iterator[None]:
    """Hold all locks of a recovery directory while the body removes its content, then remove the directory.

    Keeps a directory with other files. Raises RecoveryError if an instance runs on it.
    """
    _create(folder)
    with ExitStack() as stack:
        for lock in {lock_file(folder), *lock_files(folder)}:
            stack.enter_context(locked(lock))
        yield
        _remove(folder, f"{_LOCK}*")
        with suppress(OSError):
            folder.rmdir()


def remove_store(folder: Path) -> None:
    """Remove the recovery store and our other files in its directory, except the locks."""
    _remove(folder, *_FILES)
    with suppress(OSError):
        (folder / _DRAINED).rmdir()


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecoveryError(f"cannot use the recovery directory {folder}: {error.strerror}") from error


def _remove(folder: Path, *patterns: str) -> None:
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        path.unlink()


def is_new(folder: Path) -> bool:
    """Whether the directory holds no recovery store yet."""
    return not any(folder.glob(STORE_FILES))


def bind(folder: Path, identity: PipelineIdentity) -> None:
    """Record which pipeline the directory belongs to. Raises RecoveryError if it belongs to a different one."""
    check_identity(folder, identity)
    content = _IdentityFile(**msgspec.structs.asdict(identity), version=VERSION)
    scratch = folder / f"pipeline.{os.getpid()}.tmp"  # the processes of a cluster under `bytewax.run` all bind
    scratch.write_bytes(msgspec.json.encode(content))
    scratch.replace(folder / _IDENTITY_FILE)


def check_identity(folder: Path, identity: PipelineIdentity) -> None:
    """Raise RecoveryError if the store in the directory belongs to a different pipeline or a newer release."""
    path = folder / _IDENTITY_FILE
    if not path.exists():
        return
    try:
        content = path.read_bytes()
        refuse_newer(_IDENTITY_FILE, msgspec.json.decode(content, type=_Versioned).version, VERSION)
        found = msgspec.json.decode(content, type=_IdentityFile)
    except msgspec.MsgspecError as error:
        raise RecoveryError(f"{path} cannot be read: {error}") from error
    if found.topic_id and identity.topic_id and found.topic_id != identity.topic_id:
        raise RecoveryError(
            f"topic {identity.topic!r} was recreated after the recovery store in {folder} was made: the events of the"
            " old topic are lost, start from scratch (see docs/operations.md)"
        )
    for name in ("topic", "partitions", "key_groups", "stream_time_rank", "windows"):
        was, now = getattr(found, name), getattr(identity, name)
        if was != now:
            raise RecoveryError(
                f"the recovery store in {folder} was made with {name}={was}, not {now}:"
                " use that, or another CHILLFLOW_RECOVERY_DIR"
            )
