"""tokenizer.json as bytes, encoded piece by piece.

As one string, the text of a large vocabulary takes a hundred megabytes: a single emoji makes all characters of a
Python string four bytes wide.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from llorch.formats.tokenizer.merges import Merges

T = TypeVar("T")

MANY = 1 << 13  # entries of a vocabulary per piece
FIELDS = 64  # a dict with fewer keys is traversed: one of its values may be large
_ENCODER = json.JSONEncoder(ensure_ascii=False)


def document_bytes(document: dict[str, Any]) -> bytes:
    """Encode a JSON document as `json.dumps(document, ensure_ascii=False)` would, on one line with a line end.

    Merges become an array of pairs of texts, because a part may contain a blank.
    """
    content = io.BytesIO()
    for text in _pieces(document):
        content.write(text.encode())
    content.write(b"\n")
    return content.getvalue()


def _pieces(value: object) -> Iterator[str]:
    if isinstance(value, dict) and len(value) < FIELDS:
        yield "{"
        for number, (key, inner) in enumerate(value.items()):
            yield f"{', ' if number else ''}{_text(key)}: "
            yield from _pieces(inner)
        yield "}"
    elif isinstance(value, dict):
        entries = iter(value.items())
        yield from _join("{}", (_text(dict(some))[1:-1] for some in _batches(entries)))
    elif isinstance(value, list):
        yield from _join("[]", (_text(some)[1:-1] for some in _batches(iter(value))))
    elif isinstance(value, Merges):
        yield from _join("[]", _pairs(value))
    else:
        yield _text(value)


def _pairs(merges: Merges) -> Iterator[str]:
    """Yield merges as arrays of two texts; quoting each token once takes half the time of quoting each merge."""
    quoted = [_text(token) for token in merges.tokens]
    for first in range(0, len(merges), MANY):
        some = slice(first, first + MANY)
        rows = zip(merges.left[some].tolist(), merges.right[some].tolist(), strict=True)
        yield ", ".join([f"[{quoted[left]}, {quoted[right]}]" for left, right in rows])


def _batches(entries: Iterator[T]) -> Iterator[list[T]]:
    while some := [*itertools.islice(entries, MANY)]:
        yield some


def _join(brackets: str, parts: Iterable[str]) -> Iterator[str]:
    yield brackets[0]
    for number, part in enumerate(parts):
        yield f", {part}" if number else part
    yield brackets[1]


def _text(value: object) -> str:
    return _ENCODER.encode(value)
