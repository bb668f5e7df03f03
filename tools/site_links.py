"""A hook of mkdocs: links from docs/ to files elsewhere in the repository lead to the repository's page of them.

Such a file must be there: the build is strict, and a link that leads nowhere is one whoever wrote it.
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
    """Of mkdocs: where a page is, relative to docs/."""

    src_uri: str


class Page(Protocol):
    """Of mkdocs: a page with its file."""

    file: SourceFile


def on_page_markdown(markdown: str, page: Page, config: dict[str, Any], **_: object) -> str:
    """The page with links that leave docs/ made absolute; mkdocs calls it."""
    return absolute(markdown, page.file.src_uri, str(config["repo_url"]))


def absolute(markdown: str, page: str, repository: str) -> str:
    """A page's text, with links to what is outside docs/ leading to the repository. page: its path in docs/."""

    def replace(found: re.Match[str]) -> str:
        target = Path(os.path.normpath(Path("docs") / Path(page).parent / found[2]))
        if target.parts[0] == "docs":
            return found[0]
        if not (ROOT / target).exists():
            log.warning("%s links to %s, which is not there", page, target)
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"{found[1]}{repository}/{kind}/main/{target.as_posix()}{found[3] or ''}{found[4]}"

    return LINK.sub(replace, markdown)
