"""An mkdocs hook: links from docs/ to other files of the repository become links to the repository's web pages.

A link to a missing file is a warning, which fails the strict build.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any, Protocol

LINK = re.compile(r"(\]\()(\.\.?/[^)#\s]+)(#[^)\s]*)?(\))")
ROOT = Path(__file__).parent.parent
log = logging.getLogger("mkdocs.hooks.site_links")


class SourceFile(Protocol):
    """mkdocs' File, as far as needed. src_uri: the page's path in docs/."""

    src_uri: str


class Page(Protocol):
    """mkdocs' Page, as far as needed."""

    file: SourceFile


def on_page_markdown(markdown: str, page: Page, config: dict[str, Any], **_: object) -> str:
    """Make links that leave docs/ absolute; called by mkdocs for every page."""
    return absolute(markdown, page.file.src_uri, str(config["repo_url"]))


def absolute(markdown: str, page: str, repository: str) -> str:
    """Return a page's Markdown with links to files outside docs/ made absolute. page: its path in docs/."""

    def replace(found: re.Match[str]) -> str:
        target = Path(os.path.normpath(Path("docs") / Path(page).parent / found[2]))
        if target.parts[0] == "docs":
            return found[0]
        if not (ROOT / target).exists():
            log.warning("%s links to %s, which is not there", page, target)
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"{found[1]}{repository}/{kind}/main/{target.as_posix()}{found[3] or ''}{found[4]}"

    return LINK.sub(replace, markdown)
