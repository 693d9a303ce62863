"""`missing` skips a test whose requirements this machine lacks; the end of the run counts such skips."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import NoReturn

import pytest

REASON = re.compile(r"(?:Skipped: )?needs (?P<what>.+?): (?P<how>.+?)(?: — .*)?")


def missing(what: str, how: str, why: str = "", *, ci_has_it: bool = False) -> NoReturn:
    """Skip the test, with a line on how to get what it needs. With `ci_has_it`, fail in CI instead."""
    __tracebackhide__ = True  # report the skip at the caller
    reason = f"needs {what}: {how}"
    if ci_has_it and os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{reason}\n{why}".strip(), pytrace=False)
    pytest.skip(" — ".join([reason, *why.splitlines()[:1]]))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Count the skipped tests by missing requirement, at the very end of the report."""
    yield
    counts: Counter[str] = Counter()
    how: dict[str, str] = {}
    for report in terminalreporter.stats.get("skipped", ()):
        if isinstance(report.longrepr, tuple) and (found := REASON.fullmatch(report.longrepr[2])):
            counts[found["what"]] += 1
            how.setdefault(found["what"], found["how"])
    if counts:
        terminalreporter.section("skipped for want of something")
    for what, count in counts.most_common():
        terminalreporter.write_line(f"{count} test{'s' * (count > 1)} skipped for want of {what}: {how[what]}")
