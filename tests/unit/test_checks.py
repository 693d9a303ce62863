"""The pre-commit hook and CI run targets of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
TARGETS = dict(re.findall(r"^([a-z-]+):([^#\n]*)", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_pre_commit_hook_is_make_lint() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (hook,) = repository["hooks"]
    assert repository["repo"] == "local"
    assert (hook["entry"], hook["language"], hook["pass_filenames"]) == ("make lint", "system", False)
    assert hook["always_run"]
    assert "lint" in TARGETS


def test_ci_lints_and_runs_all_tests() -> None:
    commands = re.findall(r"^(?:exec )?make (.+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert commands == ["check", "test-long"]
    assert TARGETS["check"].split() == ["lint"]
