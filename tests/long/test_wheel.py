"""The built wheel passes the tests on each supported Python, with the newest and the oldest dependencies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.archives import FOLDERS, PACKAGES, ROOT, add_to_another_project, build, copy, run, uv
from tests.missing import missing

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]

VERSIONS = ("3.11", "3.12")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS: list[str] = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dashboard"]]
TOOLS = ("hypothesis", "pytest", "pytest-timeout", "pytest-xdist")
TESTS = ("tests/unit", "tests/dataflows")
OF_THE_CHECKOUT = tuple(
    f"test_{name}.py"
    for name in ("benchmarks", "checks", "compose", "deploy", "design", "docs", "glossary", "layers", "purity")
)
"""Tests that read files of the checkout which are not in the wheel, or its sources."""


def find(version: str) -> str | None:
    """An interpreter of this version that starts; pyenv's shims exist for all versions and may refuse."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    places = [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"{version}.*/bin/python")))]
    for place in places:
        if place and subprocess.run([place, "-c", ""], capture_output=True, check=False).returncode == 0:
            return place
    return None


def lower_bound(requirement: Requirement) -> Version:
    (bound,) = (Version(one.version) for one in requirement.specifier if one.operator == ">=")
    return bound


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(tmp_path_factory.mktemp("tree"))


@pytest.mark.parametrize("resolution", ["highest", "lowest-direct"])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_wheel_passes_the_tests(archives: dict[str, Path], version: str, resolution: str, tmp_path: Path) -> None:
    interpreter = find(version)
    if interpreter is None:
        missing(f"Python {version}", f"pyenv install {version}")
    python, program = tmp_path / "venv/bin/python", tmp_path / "venv/bin/chillflow-stream"
    uv("venv", "--python", interpreter, tmp_path / "venv", cwd=tmp_path)
    install = ("pip", "install", "--python", python)
    # Requirements are named again because uv resolves only direct ones to the lowest version.
    uv(*install, "--resolution", resolution, *REQUIREMENTS, archives["wheel"], cwd=tmp_path)
    uv(*install, *TOOLS, cwd=tmp_path)

    if resolution == "lowest-direct":
        listed = json.loads(uv("pip", "list", "--format", "json", "--python", python, cwd=tmp_path))
        installed = {one["name"]: Version(one["version"]) for one in listed}
        bounds = {one.name: lower_bound(one) for one in map(Requirement, REQUIREMENTS)}
        assert {name: installed[name] for name in bounds} == bounds, (
            "no such version, or another requirement needs more"
        )

    tree = tmp_path / "tree"
    tree.mkdir()
    copy(tree, *FOLDERS, "pyproject.toml")
    for package in PACKAGES:
        imported = run(python, "-c", f"import {package}; print({package}.__path__[0])", cwd=tree).strip()
        assert Path(imported) == tmp_path / f"venv/lib/python{version}/site-packages" / package
    assert run(program, "--version", cwd=tree).strip() == PROJECT["version"]
    assert " ok" in run(program, "demo", "--trips", 500, cwd=tree)
    ignored = [f"--ignore=tests/unit/{name}" for name in OF_THE_CHECKOUT]
    run(python, "-m", "pytest", "--quiet", *TESTS, *ignored, cwd=tree, timeout=2000)
    shutil.rmtree(tmp_path / "venv")  # pytest keeps temporary folders


def test_another_project_adds_the_sdist(archives: dict[str, Path], tmp_path: Path) -> None:
    add_to_another_project(archives["sdist"], tmp_path / "other")
