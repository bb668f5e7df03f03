"""URLs for messages, records and logs: without credentials, and without the query, which may hold a signature."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

URL = re.compile(r"https?://[^\s'\"<>]+")


def without_secrets(url: str) -> str:
    """Return only the URL's scheme, host, port and path."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))


def without_query(text: str) -> str:
    """Return another library's message with `without_secrets` applied to every URL in it."""
    return URL.sub(lambda found: without_secrets(found[0]), text)
