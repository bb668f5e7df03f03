"""URLs as they may be printed, recorded and logged: without credentials, and without a query, which may sign."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

URL = re.compile(r"https?://[^\s'\"<>]+")


def without_secrets(url: str) -> str:
    """The URL's scheme, host, port and path."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))


def without_query(text: str) -> str:
    """Text of another library, with every URL in it shortened to where it leads."""
    return URL.sub(lambda found: without_secrets(found[0]), text)
