"""The wheel and the sdist: what is in them, and that another project can use them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.missing import missing

ROOT = Path(__file__).parents[2]
PACKAGES = ("chillflow", "dataflows", "stream")
FOLDERS = ("docs", "tests")
FILES = (
    "pyproject.toml",
    "constraints.txt",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "mkdocs.yml",
)
UNREACHABLE = ("error sending request", "dns error", "failed to fetch", "connection refused", "network")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist of a copy of the tree, with none of what lies about in a checkout, and the wheel made of the sdist."""
    tree = tmp_path_factory.mktemp("tree")
    for name in (*PACKAGES, *FOLDERS):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, tree)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tree / "dist"), str(tree)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {"sdist" if made.suffix == ".gz" else "wheel": made for made in (tree / "dist").iterdir()}


def files_of(*folders: str) -> set[str]:
    """What a checkout has in these folders."""
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_packages_and_nothing_else(archives: dict[str, Path]) -> None:
    names = set(zipfile.ZipFile(archives["wheel"]).namelist())

    expected = files_of(*PACKAGES)
    about = {name for name in names if ".dist-info/" in name}
    assert names - about == expected
    assert any(name.endswith("licenses/LICENSE") for name in about)
    assert {"chillflow/py.typed", "stream/py.typed", "chillflow/synthetic/zones.csv"} <= names
    assert {"chillflow/connectors/migrations/0001_trips.sql", "dataflows/assemble.py"} <= names
    assert all(name.endswith((".py", ".sql", ".csv", "py.typed")) for name in expected)


def test_the_sdist_holds_what_makes_and_tests_it(archives: dict[str, Path]) -> None:
    with tarfile.open(archives["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert names - {"PKG-INFO", ".gitignore"} == files_of(*PACKAGES, *FOLDERS) | set(FILES)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "other"
    shutil.rmtree(tmp_path / "other", ignore_errors=True)


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_another_project_adds_it(archives: dict[str, Path], kind: str, project: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        missing("uv", "pip install uv")
    ours = ("VIRTUAL_ENV", "PYTHON", "CHILLFLOW", "KAFKA", "DATABASE_URL")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}

    def run(*arguments: object) -> str:
        done = subprocess.run(
            [str(uv), *map(str, arguments)],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        if done.returncode:
            reasons = [line for line in done.stderr.lower().splitlines() if any(why in line for why in UNREACHABLE)]
            if reasons:
                missing(
                    "a package registry", "let uv reach one", f"{reasons[0].strip()}\n{done.stderr}", ci_has_it=True
                )
            pytest.fail(done.stderr)
        return done.stdout

    project.mkdir()
    run("init", "--bare", "--name", "other", "--python", sys.executable)
    run("add", f"chillflow-stream @ {archives[kind].as_uri()}")

    assert run("run", "chillflow-stream", "--version").strip() == archives["wheel"].name.split("-")[1]
    said = run("run", "python", "-c", "from stream import TripEventProducer; print(TripEventProducer.__name__)")
    assert said.strip() == "TripEventProducer"
    assert " ok" in run("run", "chillflow-stream", "demo", "--trips", 100)
    for command in ("dashboard", "demo --live"):
        refused = run("run", "sh", "-c", f"chillflow-stream {command} 2>&1; test $? = 2")
        assert refused == "error: the dashboard is an extra: pip install 'chillflow-stream[dashboard]'\n"
