"""The commands and SQL statements of docs/security.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def acl_commands() -> list[str]:
    """The commands that grant permissions, each on one line."""
    lines = "\n".join(_blocks("sh")).replace("\\\n", "").splitlines()
    return [line for line in lines if line]


def exports() -> list[dict[str, str]]:
    """The environment variables for authentication to the broker by password, and by certificate."""
    return [
        dict(word.split("=", 1) for word in shlex.split(block) if word != "export")
        for block in _blocks("bash")
        if block.startswith("export ")
    ]


def statements() -> list[str]:
    """SQL for a superuser before `init-db`, and SQL for the owner after it."""
    return _blocks("sql")
