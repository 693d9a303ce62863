"""What docs/security.md tells people to do, as commands and statements that a test can do."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def acl_commands() -> list[str]:
    """The commands that give the rights, each on one line."""
    lines = "\n".join(_blocks("sh")).replace("\\\n", "").splitlines()
    return [line for line in lines if line]


def exports() -> list[dict[str, str]]:
    """The variables of each way to the broker: by a password, by a certificate."""
    return [
        dict(word.split("=", 1) for word in shlex.split(block) if word != "export")
        for block in _blocks("bash")
        if block.startswith("export ")
    ]


def statements() -> list[str]:
    """For a superuser before `init-db`, for the owner after it."""
    return _blocks("sql")
