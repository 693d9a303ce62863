"""ProperDocs hook: adds README.md and CONTRIBUTING.md, which are outside docs/, to the site."""

from __future__ import annotations

from pathlib import Path

from properdocs.config.defaults import ProperDocsConfig
from properdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}
"""File in the repository to page of the site."""


def linked(markdown: str) -> str:
    """The page with links that work on GitHub changed to work within the site."""
    markdown = markdown.replace("](docs/", "](")
    for name, page in OUTSIDE.items():
        markdown = markdown.replace(f"](../{name}", f"]({page}").replace(f"]({name}", f"]({page}")
    return markdown


def on_files(files: Files, config: ProperDocsConfig) -> Files:
    """Add the pages from outside docs/."""
    for name, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Change the links of each page."""
    return linked(markdown)
