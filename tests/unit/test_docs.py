"""What the documentation says is so: settings, commands, fields, links, examples."""

from __future__ import annotations

import ast
import importlib
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from chillflow.cli import app
from chillflow.model.events import EVENT_CLASSES
from chillflow.model.trips import DERIVED_FIELDS, TRIP_FIELDS
from chillflow.settings import SECRETS, RunArguments, Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DESIGN = (ROOT / "docs" / "design.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMANDS: Any = typer.main.get_command(app)
MAKE_SETTINGS = runpy.run_path(str(ROOT / "docs" / "make_settings.py"))
SETTINGS_PAGE: str = MAKE_SETTINGS["page"]()
VARIABLES = {
    str(field.validation_alias or f"CHILLFLOW_{name.upper()}")
    for name, field in (Settings.model_fields | RunArguments.model_fields).items()
}
PROMISED = """\
chillflow-stream produce-events --limit 100
chillflow-stream produce-events --trip-key abc123
chillflow-stream produce-from-file --file data/trips.parquet
chillflow-stream consume-events --topic trip-events
chillflow-stream create-topic --topic trip-events
uv add chillflow-stream
uv add --dev chillflow-stream
make test stream
make lint
from stream import TripEventProducer, TripStartedEvent
producer = TripEventProducer()
events = producer.process_trip(complete_trip)
stats = producer.send_events(events, topic="trip-events")
- `KAFKA_BOOTSTRAP_SERVERS`: Kafka servers (default: localhost:9092)
- `LOG_LEVEL`: Logging level (default: INFO)"""
"""What the first README promised, before there was any code."""


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_page_of_settings_is_that_of_the_code() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == SETTINGS_PAGE, "run python docs/make_settings.py"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_default_is_shown_as_it_is_read(name: str) -> None:
    field = Settings.model_fields[name]
    variable = str(field.validation_alias or f"CHILLFLOW_{name.upper()}")
    (row,) = (line for line in SETTINGS_PAGE.splitlines() if line.startswith(f"| `{variable}` |"))
    shown = row.split(" | ")[2].strip("`") or None
    assert getattr(Settings.model_validate({variable: shown}), name) == field.default


@pytest.mark.parametrize("line", PROMISED.splitlines())
def test_the_readme_holds_what_was_promised(line: str) -> None:
    assert re.search(rf"^{re.escape(line)}( +#.*)?$", README, re.MULTILINE)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 200


@pytest.mark.parametrize("command", COMMANDS.commands)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"chillflow-stream {command}" in README or f"make {command}" in README


def test_the_event_types_are_in_the_readme() -> None:
    rows = re.findall(r"^\| `(\w+Event)` \| `(\w+)` \|", README, re.MULTILINE)
    assert rows == [(cls.__name__, cls.model_fields["event_type"].default) for cls in EVENT_CLASSES]


@pytest.mark.parametrize("field", ["trip_key", *TRIP_FIELDS, *DERIVED_FIELDS])
def test_every_field_is_in_the_design(field: str) -> None:
    table = DESIGN.partition("## Fields")[2].partition("## ")[0]
    assert f"`{field}`" in table


@pytest.mark.parametrize("cls", EVENT_CLASSES)
def test_the_design_says_which_event_carries_a_field(cls: Any) -> None:
    table = DESIGN.partition("## Fields")[2].partition("## ")[0]
    kind = cls.model_fields["event_type"].default
    carrying = "".join(line for line in table.splitlines() if f"`{kind}`" in line.rpartition(" | ")[2])
    carried = [name for name in cls.model_fields if name in TRIP_FIELDS]
    assert [name for name in carried if f"`{name}`" not in carrying] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text()), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_as_the_command_line_has_them(page: Path) -> None:
    lines = [line for block in blocks(page.read_text(), "bash") for line in block.splitlines()]
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ["chillflow-stream"]:
            COMMANDS.commands[words[1]].make_context(words[1], words[2:]).close()
        if words[:1] == ["make"]:
            for target in words[1:]:
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_variables_are_settings(page: Path) -> None:
    named = set(re.findall(r"\bCHILLFLOW_\w*[A-Z]\b", page.read_text()))
    ours = {name for name in named if not name.startswith(("CHILLFLOW_TEST_", "CHILLFLOW_KAFKA_"))}
    assert ours <= VARIABLES | {f"{name}_FILE" for name in SECRETS}


def test_the_example_of_the_operator_prints_what_it_says() -> None:
    (example,) = blocks((ROOT / "docs" / "operators.md").read_text(), "python")
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == example.rpartition("print(ended)  # ")[2]


PUBLIC = {
    module: set(members.split(", ")) if members else set(importlib.import_module(module).__all__)
    for module, members in re.findall(
        r"^::: ([\w.]+)(?:\n    options:\n      members: \[([\w, ]+)\])?$",
        (ROOT / "docs" / "api.md").read_text(),
        re.MULTILINE,
    )
}
"""The modules of the API page, and the names that programs may import from them."""


def imports(program: str) -> Iterator[tuple[str, str]]:
    """The modules and names of ours that a program imports; a module of its own has the name ''."""
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            found = [(each.name, "") for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [(node.module or "", each.name) for each in node.names]
        else:
            continue
        for module, name in found:
            if module.partition(".")[0] in ("chillflow", "dataflows", "stream"):
                yield (f"{module}.{name}", "") if f"{module}.{name}" in PUBLIC else (module, name)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_programs_import_what_is_public(page: Path) -> None:
    programs = [each for each in blocks(page.read_text(), "python") if not each.startswith("# new file: ")]
    for module, name in (each for program in programs for each in imports(program)):
        assert module in PUBLIC, f"docs/api.md does not list {module}"
        assert not name or name in PUBLIC[module], f"docs/api.md does not list {module}.{name}"


@pytest.mark.parametrize("module", PUBLIC)
def test_what_is_public_is_exported(module: str) -> None:
    assert PUBLIC[module] <= set(importlib.import_module(module).__all__)


GUARANTEES = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs" / "guarantees.md").read_text())


def test_every_guarantee_names_a_test() -> None:
    rows = re.findall(r"^\| [A-Z].* \| (.*) \|$", (ROOT / "docs" / "guarantees.md").read_text(), re.MULTILINE)
    assert len(rows) > 20
    assert [row for row in rows if not re.fullmatch(r"`[\w/]+\.py::test_\w+`(, `[\w/]+\.py::test_\w+`)*", row)] == []


@pytest.mark.parametrize(("file", "name"), sorted(set(GUARANTEES)))
def test_the_test_of_a_guarantee_exists(file: str, name: str) -> None:
    assert re.search(rf"^def {name}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "properdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in [
        "stream.TripEventProducer.send_events",
        *(f"{module}.{name}" for module, names in PUBLIC.items() for name in names),
    ]:
        assert f'id="{name}"' in (tmp_path / "site" / "api" / "index.html").read_text(), name
    assert not list((tmp_path / "site").rglob("*.py"))
