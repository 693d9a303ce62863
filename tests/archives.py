"""Builds sdist and wheel of this checkout, and installs them with uv."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.missing import missing

ROOT = Path(__file__).parents[1]
PACKAGES = ("chillflow", "dataflows", "stream")
FOLDERS = ("docs", "tests")
FILES = (
    "pyproject.toml",
    "constraints.txt",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE",
    "Makefile",
    "properdocs.yml",
)
UNREACHABLE = ("error sending request", "dns error", "failed to fetch", "connection refused", "network")
OURS = ("VIRTUAL_ENV", "PYTHON", "PYTEST", "CHILLFLOW", "KAFKA", "DATABASE_URL")


def copy(folder: Path, *names: str) -> None:
    """Copy these files and folders of the checkout, without bytecode."""
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)


def build(tree: Path) -> dict[str, Path]:
    """Build the sdist from a copy of the checkout, and the wheel from the sdist."""
    copy(tree, *PACKAGES, *FOLDERS, *FILES)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tree / "dist", tree, cwd=tree)
    return {"sdist" if made.suffix == ".gz" else "wheel": made for made in (tree / "dist").iterdir()}


def run(*command: object, cwd: Path, timeout: float = 240) -> str:
    """The stdout of a command, run without the variables of this environment; a failure shows its whole output."""
    done = _run(command, cwd, timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def uv(*arguments: object, cwd: Path) -> str:
    """The stdout of uv. If it reaches no registry the test is skipped; in CI it fails."""
    program = Path(sys.executable).with_name("uv")
    if not program.exists():
        missing("uv", "pip install uv")
    done = _run((program, *arguments), cwd, timeout=240)
    if done.returncode:
        reasons = [line for line in done.stderr.lower().splitlines() if any(why in line for why in UNREACHABLE)]
        if reasons:
            missing("a package registry", "let uv reach one", f"{reasons[0].strip()}\n{done.stderr}", ci_has_it=True)
        pytest.fail(done.stderr)
    return done.stdout


def add_to_another_project(archive: Path, project: Path) -> None:
    """Add the archive to a new project, and use it there."""
    project.mkdir()
    uv("init", "--bare", "--name", "other", "--python", sys.executable, cwd=project)
    uv("add", f"chillflow-stream @ {archive.as_uri()}", cwd=project)

    version = archive.name.removesuffix(".tar.gz").split("-")[1]
    assert uv("run", "chillflow-stream", "--version", cwd=project).strip() == version
    printed = uv("run", "python", "-c", "from stream import TripEventProducer as it; print(it.__name__)", cwd=project)
    assert printed.strip() == "TripEventProducer"
    assert " ok" in uv("run", "chillflow-stream", "demo", "--trips", 100, cwd=project)
    for command in ("dashboard", "demo --live"):
        refused = uv("run", "sh", "-c", f"chillflow-stream {command} 2>&1; test $? = 2", cwd=project)
        assert refused == "error: the dashboard is an extra: pip install 'chillflow-stream[dashboard]'\n"
    shutil.rmtree(project)  # pytest would keep it, with its environment


def _run(command: tuple[object, ...], cwd: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
