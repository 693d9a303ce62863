"""The glossary and the vocabulary of the docs: its terms are in use, and retired words are not."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
TERMS = re.findall(r"^\| ([a-z].*?)(?: \(.*?\))? \| [A-Z]", GLOSSARY.read_text(), re.MULTILINE)
"""First cells of the glossary's rows, without a qualifier in parentheses."""
RETIRED = {
    r"stream[ -]time(?!-rank)": "watermark",
    r"stamp(s|ed)?": "watermark",
    r"put(s|ting)? (\w+ ){0,3}together": "assemble, reassemble",
    r"put(s|ting)? (\w+ )?to rest|at rest|sealed": "packed",
    r"remember(s|ed)?": "kept for corrections",
    r"forg[eo]t(s|ten)?": "dropped",
    r"figures?": "measures",
    r"stretch(es)?|GroupRecords": "batch",
    r"shortcuts?": "loop (of the key group)",
    r"beside": "in the background, next to",
    r"stands?|standing|stood": "is already written",
    r"looks?|looked|looking": "view",
    r"leaves? out|left out|leaving out": "excluded, dropped, skipped",
    r"hears?|heard|tells?|told": "receives, reports",
    r"time-outs?": "timeout",
    r"as it is|whatever it is|what becomes of|what became of": "say it plainly",
    r"it adds up": "the account balances",
}
"""Words that the project no longer uses for its own things, and what to say instead."""
ALLOWED = re.compile(
    r"\b(measured figures|looks? like|look(s|ed)? (the \w+ )?up|stands for|as soon as it is)\b|\.tell\(\)",
    re.IGNORECASE,
)
"""Plain English, or code, with a retired word in it."""
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")} - {ROOT / "CHANGELOG.md"})
MODULES = sorted(path for room in ("chillflow", "dataflows", "stream") for path in (ROOT / room).rglob("*.py"))


def prose(markdown: str) -> str:
    """The text without program output, code spans and link targets, all of which hold names that must not change."""
    markdown = re.sub(r"^```text\n.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]+`|\]\([^)]*\)", "", markdown)


def prose_of_code(source: str) -> str:
    """The comments, docstrings and other string literals of a module; a literal without a space is a name."""
    comments = (
        token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    )
    literals = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    texts = (text for text in literals if isinstance(text, str) and " " in text)
    return prose("\n\n".join([*comments, *texts]))


def retired_in(text: str) -> dict[str, str]:
    """The retired words in a text, and what to say instead."""
    text = ALLOWED.sub("", text)
    return {
        match[0]: instead
        for retired, instead in RETIRED.items()
        for match in re.finditer(rf"\b({retired})\b", text, re.IGNORECASE)
    }


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_no_retired_words(page: Path) -> None:
    assert retired_in(prose(page.read_text())) == {}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOT)))
def test_a_module_has_no_retired_words(module: Path) -> None:
    assert retired_in(prose_of_code(module.read_text())) == {}


@pytest.mark.parametrize(
    "text",
    [
        "the stream time",
        "Put the trips together again",
        "it was put to rest",
        "Stretch",
        "the shortcut",
        "what stands there",
        "a stamp",
    ],
)
def test_retired_words_are_found(text: str) -> None:
    assert retired_in(prose(text))


def test_comments_docstrings_and_texts_of_code_are_read() -> None:
    source = '"""One figure."""\nwatermark = {"stamp": f"{1} is told"}  # at rest\nprint("`stream time` rank")\n'
    assert set(retired_in(prose_of_code(source))) == {"figure", "told", "at rest"}


@pytest.mark.parametrize("text", ["--stream-time-rank", "It looks like `stamp`", "0 stands for none", "looked up"])
def test_names_and_plain_english_are_allowed(text: str) -> None:
    assert retired_in(prose(text)) == {}
