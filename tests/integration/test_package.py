"""Contents of wheel and sdist, and the wheel in another project."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.archives import FILES, FOLDERS, PACKAGES, ROOT, add_to_another_project, build


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(tmp_path_factory.mktemp("tree"))


def files_of(*folders: str) -> set[str]:
    """Files of the checkout in these folders, relative to its root."""
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
    assert {"chillflow/py.typed", "stream/py.typed", "chillflow/model/zones.csv"} <= names
    assert {"chillflow/connectors/migrations/0001_trips.sql", "dataflows/assemble.py"} <= names
    assert all(name.endswith((".py", ".sql", ".csv", "py.typed")) for name in expected)


def test_the_sdist_holds_sources_docs_and_tests(archives: dict[str, Path]) -> None:
    with tarfile.open(archives["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert names - {"PKG-INFO", ".gitignore"} == files_of(*PACKAGES, *FOLDERS) | set(FILES)


def test_another_project_adds_the_wheel(archives: dict[str, Path], tmp_path: Path) -> None:
    add_to_another_project(archives["wheel"], tmp_path / "other")
