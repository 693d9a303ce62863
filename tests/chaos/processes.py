"""The processes of a command under way."""

from __future__ import annotations

import subprocess


def family(process: int) -> list[int]:
    """A process and its children: the launcher and the workers."""
    found = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True, check=False)
    return [process, *(int(line) for line in found.stdout.split())]
