"""The tests that need no server, under each Python this project is for: `make test-all`.

Pythons are looked for on the PATH and among those of pyenv; one that is not there is named and left out. Each has an
environment of its own, `.venv-<version>`, which is kept for the next time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSIONS = ("3.10", "3.11", "3.12")
TESTS = ("tests/unit", "tests/dataflows")


def find(version: str) -> str | None:
    """An interpreter of this version that starts: pyenv's shims are there for each that is installed, and refuse."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    places = [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"{version}.*/bin/python")))]
    for place in places:
        if place and subprocess.run([place, "-c", ""], capture_output=True, check=False).returncode == 0:
            return place
    return None


def environment(version: str, interpreter: str) -> Path:
    """The interpreter of an environment with the project and its development tools."""
    folder = ROOT / f".venv-{version}"
    python = folder / "bin" / "python"
    wanted = (ROOT / "pyproject.toml").read_text() + (ROOT / "constraints.txt").read_text()
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([interpreter, "-m", "venv", folder], check=True)
        install: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--upgrade", "pip>=25.1"], check=True)  # the first that knows dependency groups
        options = ["--constraint", "constraints.txt", "--editable", ".", "--group", "dev"]
        subprocess.run([*install, *options], cwd=ROOT, check=True)
        stamp.write_text(wanted)
    return python


def main(arguments: list[str]) -> int:
    """Run them all; the arguments are pytest's."""
    failed, ran = [], 0
    for version in VERSIONS:
        interpreter = find(version)
        if interpreter is None:
            print(f"Python {version}: not found, left out (pyenv install {version})", flush=True)
            continue
        print(f"Python {version}: {interpreter}", flush=True)
        pytest = [environment(version, interpreter), "-m", "pytest", "--quiet", *(arguments or TESTS)]
        ran += 1
        if subprocess.run(pytest, cwd=ROOT, check=False).returncode:
            failed.append(version)
    if failed:
        print(f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
