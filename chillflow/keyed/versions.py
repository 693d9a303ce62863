"""The version check of everything in the recovery store. Pure."""

from __future__ import annotations

from chillflow.errors import RecoveryError

__all__ = ["refuse_newer"]


def refuse_newer(what: str, found: int, known: int) -> None:
    """Raise RecoveryError if stored state has version `found` and this release knows only `known`."""
    if found > known:
        raise RecoveryError(
            f"the recovery store holds {what} of version {found}, this release knows {known}:"
            " use the release that wrote it, or a newer one"
        )
