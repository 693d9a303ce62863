"""The processes of a running command."""

from __future__ import annotations

import shutil
import subprocess

from tests.missing import missing


def family(process: int) -> list[int]:
    """Ids of a process and its children: the launcher and the workers."""
    program = shutil.which("pgrep") or missing("pgrep", "apt-get install procps")
    found = subprocess.run([program, "-P", str(process)], capture_output=True, text=True, check=False)
    return [process, *(int(line) for line in found.stdout.split())]
