"""A hook of ProperDocs: README.md and CONTRIBUTING.md, which lie above docs/, are pages of the site too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from properdocs.config.defaults import ProperDocsConfig
from properdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ABOVE = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}


def linked(markdown: str) -> str:
    """The text with its links as they are within the site."""
    markdown = markdown.replace("](docs/", "](")
    for name, page in ABOVE.items():
        markdown = markdown.replace(f"](../{name}", f"]({page}").replace(f"]({name}", f"]({page}")
    return markdown


def on_files(files: Files, config: ProperDocsConfig) -> Files:
    """Add the pages from above docs/ to those of the site."""
    for name, page in ABOVE.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Make the links of a page those of the site."""
    return linked(markdown)
