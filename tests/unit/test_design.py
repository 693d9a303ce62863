"""The layout in docs/design.md lists the rooms and modules that there are."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.unit.test_layers import FILES, ROOMS, ROOT, allowed, module_of, room_of

LAYOUT = (ROOT / "docs" / "design.md").read_text().partition("\n## Layout\n")[2].partition("\n## ")[0]
ROWS: dict[Path, set[str]] = {
    Path(place): set() if names == "nothing" else set(names.split(", "))
    for place, names in re.findall(r"^\| `([\w/.]+)` \| .+ \| ([\w, ]+) \|$", LAYOUT, re.MULTILINE)
}
"""By room (a folder or a file), the rooms that it may import."""
FOLDERS = {place.name: place for place in ROWS if not place.suffix}
NAMED = [
    FOLDERS[room] / file
    for room, modules in re.findall(r"^\*\*`(\w+)`\*\*\n\n((?:[- ] .+\n?)+)", LAYOUT, re.MULTILINE)
    for file in re.findall(r"`([\w/]+\.py)`", modules)
] + [place for place in ROWS if place.suffix]
"""The modules that the layout names."""
MODULES = {path for path in FILES if path.name != "__init__.py"}


def test_every_room_is_in_the_layout() -> None:
    assert {place.stem for place in ROWS} == set(ROOMS) - {"chillflow"}


@pytest.mark.parametrize("place", ROWS, ids=str)
def test_the_layout_says_what_a_room_may_import(place: Path) -> None:
    assert ROWS[place] == allowed(place.stem)


def test_a_room_is_listed_above_those_that_import_it() -> None:
    order = [place.stem for place in ROWS]
    for position, place in enumerate(ROWS):
        assert ROWS[place] <= set(order[:position]), place


def test_every_module_is_in_the_layout() -> None:
    assert {str(path) for path in MODULES} - {str(path) for path in NAMED} == set()


def test_every_module_in_the_layout_exists() -> None:
    assert {str(path) for path in NAMED} - {str(path) for path in MODULES} == set()


def test_no_module_is_in_the_layout_twice() -> None:
    assert [str(path) for path, count in Counter(NAMED).items() if count > 1] == []


def test_rooms_and_their_modules_are_in_one_order() -> None:
    order = [place.name for place in ROWS if not place.suffix]
    described = re.findall(r"^\*\*`(\w+)`\*\*$", LAYOUT, re.MULTILINE)
    assert described == [room for room in order if any(room_of(module_of(path)) == room for path in MODULES)]
