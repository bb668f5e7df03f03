"""Untrusted text made printable: one line, no control characters, bounded length."""

from __future__ import annotations

import os
import unicodedata


def printable(text: str | bytes | os.PathLike[str], most: int = 80, *, quoted: bool = True) -> str:
    r"""Return `text` escaped for a terminal, a log line or an exception message.

    Bytes that are not UTF-8, control characters, line ends and bidirectional marks are escaped, a backslash is doubled,
    and the result is cut to `most` characters (counted after escaping) and a final …

    >>> print(printable("a\nb\x1b[2J"))
    'a\nb\x1b[2J'
    """
    if isinstance(text, bytes):
        text = text[: 4 * most + 4].decode("utf-8", "surrogateescape")
    line = ""
    for character in os.fspath(text):
        visible = _visible(character)
        if len(line) + len(visible) > most:
            line += "…"
            break
        line += visible
    return f"'{line}'" if quoted else line


def _visible(character: str) -> str:
    if character.isprintable() and character != "\\":
        return character
    if "\udc80" <= character <= "\udcff":  # a byte that surrogateescape decoded
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def width(text: str) -> int:
    """Return the number of terminal columns that `text` takes; a wide (CJK) character takes two.

    >>> width("模型.gguf")
    9
    """
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut(text: str, most: int) -> str:
    """Return `text` in at most `most` columns; if shortened, it ends in …

    >>> cut("模型.gguf", 6)
    '模型.…'
    """
    return text if width(text) <= most else f"{head(text, most - 1)}…"


def head(text: str, most: int) -> str:
    """Return the longest beginning of `text` that fits in `most` columns."""
    for place, character in enumerate(text):
        most -= _columns(character)
        if most < 0:
            return text[:place]
    return text


def _columns(character: str) -> int:
    if unicodedata.east_asian_width(character) in "WF":
        return 2
    return 0 if unicodedata.category(character) in ("Mn", "Me", "Cf") else 1
