"""The glossary and the vocabulary of the docs: its terms are in use, and retired words are not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
TERMS = re.findall(r"^\| ([a-z].*?)(?: \(.*?\))? \| [A-Z]", GLOSSARY.read_text(), re.MULTILINE)
"""First cells of the glossary's rows, without a qualifier in parentheses."""
RETIRED = {
    r"stream[ -]time": "watermark",
    r"stamp(s|ed)?": "watermark",
    r"put(s|ting)? (\w+ ){0,3}together": "assemble, reassemble",
    r"put(s|ting)? (\w+ )?to rest|at rest|sealed": "packed",
    r"remember(s|ed)?": "kept for corrections",
    r"forg[eo]t(s|ten)?": "dropped",
    r"(?<!measured )figures?": "measures",
    r"stretch(es)?": "batch",
    r"beside": "in the background, next to",
    r"stands?|standing|stood": "is already written",
    r"looks?|looked|looking": "view",
    r"leaves? out|left out|leaving out": "excluded, dropped, skipped",
    r"hears?|heard|(?<!\.)tells?|told": "receives, reports",
    r"time-outs?": "timeout",
    r"as it is|whatever it is|what becomes of|what became of": "say it plainly",
    r"it adds up": "the account balances",
}
"""Words that the project no longer uses for its own things, and what to say instead."""
CHECKED = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")),
]
"""Pages in which no retired word may occur."""


def prose(markdown: str) -> str:
    """The text without program output, code spans and link targets, all of which hold names that must not change."""
    markdown = re.sub(r"^```text\n.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]+`|\]\([^)]*\)", "", markdown)


def words(text: str) -> str:
    """The text in lower-case words: `PartitionProgress`, `partition_progress` and its two words are the same."""
    text = re.sub(r"([a-z])([A-Z])", r"\1 \2", text)
    return re.sub(r"[\W_]+", " ", text).lower()


@pytest.fixture(scope="module")
def in_use() -> str:
    """All words of the other docs and of the code."""
    pages = {*(ROOT / "docs").glob("*.md")} - {GLOSSARY}
    modules = (ROOT / "chillflow").rglob("*.py")
    return words("\n".join(path.read_text() for path in sorted([*pages, *modules])))


def test_every_term_has_one_entry() -> None:
    rows = [line for line in GLOSSARY.read_text().splitlines() if re.match(r"\| (?!term \|)", line)]
    assert len(TERMS) == len(rows) == len({*TERMS}) > 40


@pytest.mark.parametrize("term", TERMS)
def test_a_term_of_the_glossary_is_in_use(term: str, in_use: str) -> None:
    assert re.search(r"\b" + " ".join(f"{word}s?" for word in words(term).split()) + r"\b", in_use)


@pytest.mark.parametrize("page", CHECKED)
def test_a_page_has_no_retired_words(page: str) -> None:
    text = prose((ROOT / page).read_text())
    found = {
        match[0]: instead
        for retired, instead in RETIRED.items()
        for match in re.finditer(rf"\b({retired})\b", text, re.IGNORECASE)
    }
    assert found == {}


@pytest.mark.parametrize("text", ["the stream time", "Put the trips together again", "it was put to rest", "Stretch"])
def test_retired_words_are_found(text: str) -> None:
    assert any(re.search(rf"\b({retired})\b", prose(text), re.IGNORECASE) for retired in RETIRED)
