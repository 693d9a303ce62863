"""The rooms of the house: each imports only what its `__init__` says it may, and nothing runs back up."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("chillflow", "dataflows", "stream")
FILES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SINGLE = {
    "errors": set[str](),
    "settings": {"errors"},
    "operators": {"keyed"},
    "__main__": {"cli"},
    "chillflow": set[str](),
}
"""Rooms of one file, which have no `__init__` to say it."""


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    package, *rest = module.split(".")
    return rest[0] if package == "chillflow" and rest else package


def imports(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports, also within functions and for type checkers."""
    modules = {module_of(each) for each in FILES}
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                submodule = f"{node.module}.{name.name}"
                yield submodule if submodule in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def ours(path: Path) -> set[str]:
    return {module for module in imports(path) if module.partition(".")[0] in PACKAGES}


def said(room: str) -> str:
    folder = ROOT / (room if room in PACKAGES else f"chillflow/{room}")
    return ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""


def allowed(room: str) -> set[str]:
    """What a room may import, by its own words."""
    if room in SINGLE:
        return SINGLE[room]
    (names,) = re.findall(r"^May import: ([\w, \n]+)\.$", said(room), re.MULTILINE)
    return set(re.split(r",\s+", names))


ROOMS = sorted({room_of(module_of(path)) for path in FILES})


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_it_may(room: str) -> None:
    for path in FILES:
        if room_of(module_of(path)) == room:
            others = {room_of(module) for module in ours(path)} - {room, "chillflow"}
            assert others <= allowed(room), f"{path} imports {others - allowed(room)}"


def test_no_room_is_below_itself() -> None:
    TopologicalSorter({room: allowed(room) for room in ROOMS}).prepare()


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module_of(path): ours(path) - {module_of(path)} for path in FILES if path.name != "__init__.py"}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("room", [room for room in ROOMS if room not in SINGLE])
def test_a_folder_says_what_lives_there(room: str) -> None:
    lines = said(room).splitlines()
    assert lines[1] == ""
    assert any(line.startswith("Holds: ") for line in lines)
    assert len(lines) <= 8


def test_what_a_room_may_import_it_does_import() -> None:
    used = defaultdict[str, set[str]](set)
    for path in FILES:
        used[room_of(module_of(path))] |= {room_of(module) for module in ours(path)}
    for room in ROOMS:
        assert allowed(room) <= used[room], f"{room} does not import {allowed(room) - used[room]}"


def test_no_two_files_have_one_name() -> None:
    names = Counter(path.name for path in FILES if path.name != "__init__.py" and path.parts[0] != "stream")
    assert [name for name, count in names.items() if count > 1] == []


def test_no_two_classes_have_one_name() -> None:
    names = Counter(
        node.name
        for path in FILES
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []
