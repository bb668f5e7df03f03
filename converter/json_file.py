"""JSON as it is written in a converted folder."""

from __future__ import annotations

import json
from collections.abc import Mapping


def json_bytes(document: Mapping[str, object], *, sort_keys: bool = False) -> bytes:
    """Encode as transformers does: UTF-8, indented by two spaces. ValueError for NaN and infinity."""
    text = json.dumps(document, indent=2, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
