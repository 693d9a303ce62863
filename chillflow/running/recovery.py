"""The recovery directory: made at the first start, locked, and bound to the pipeline that made it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from bytewax.recovery import RecoveryConfig, init_db_dir

from chillflow import keygroup
from chillflow.errors import RecoveryError
from chillflow.settings import Settings

__all__ = ["ACCOUNT_FILE", "drained_folder", "locked", "recovery_store"]

ACCOUNT_FILE = "account.json"
_PARTITIONS = 4
"""SQLite files of the store, fixed when it is made: more than this many processes write no faster."""


@contextmanager
def recovery_store(settings: Settings, partitions: int) -> Iterator[RecoveryConfig]:
    """The store of the assembly of a topic with so many partitions, held by this process alone.

    Raises RecoveryError if another instance holds it, or it was made by a pipeline of another shape.
    """
    folder = settings.recovery_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecoveryError(f"cannot use the recovery directory {folder}: {error.strerror}") from error
    with locked(folder / "lock"):
        _check_identity(folder, settings, partitions)
        if not any(folder.glob("part-*.sqlite3")):
            init_db_dir(folder, _PARTITIONS)
        yield RecoveryConfig(str(folder), timedelta(0))


def drained_folder(settings: Settings) -> Path:
    """Where the processes of a cluster put a file for each partition that is drained."""
    return settings.recovery_dir / "drained"


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


def _check_identity(folder: Path, settings: Settings, partitions: int) -> None:
    """Positions and key groups of one topic mean nothing for another, nor where a key is in another partition."""
    identity = {
        "topic": settings.topic,
        "partitions": partitions,
        "key_groups": settings.key_groups,
        "stream_time_rank": settings.stream_time_rank,
        "windows": [length // timedelta(minutes=1) for length in settings.window_lengths],
    }
    path = folder / "pipeline.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    if found.get("version", 0) > keygroup.VERSION:
        raise RecoveryError(
            f"the recovery store in {folder} is of a newer release (version {found['version']}, this one knows"
            f" {keygroup.VERSION}): use that, or another CHILLFLOW_RECOVERY_DIR"
        )
    for name, value in identity.items():
        if found.get(name, value) != value:
            raise RecoveryError(
                f"the recovery store in {folder} was made with {name}={found.get(name)}, not {value}:"
                " use that, or another CHILLFLOW_RECOVERY_DIR"
            )
    path.write_text(json.dumps({**identity, "version": keygroup.VERSION}))
