"""JSON as the files of a converted folder hold it."""

from __future__ import annotations

import json
from collections.abc import Mapping


def json_bytes(document: Mapping[str, object], *, sort_keys: bool = False) -> bytes:
    """Two spaces a level and UTF-8, as transformers writes it; ValueError for NaN and infinity, which JSON has not."""
    text = json.dumps(document, indent=2, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
