"""How text that came from a file is shown: one line, no control characters, bounded."""

from __future__ import annotations

import os
import unicodedata


def printable(text: str | bytes | os.PathLike[str], most: int = 80, *, quoted: bool = True) -> str:
    r"""`text` for a terminal, a log line or an exception message.

    Bytes that are not UTF-8, control characters, line ends and bidirectional marks come out as escapes, a
    backslash is doubled, and of what is longer than `most` characters, as they are shown, the rest becomes …

    >>> print(shown("a\nb\x1b[2J"))
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
    if "\udc80" <= character <= "\udcff":  # what surrogateescape made of a byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def width(text: str) -> int:
    """How many columns of a terminal, or letters of a monospace font, `text` takes: two for a CJK letter.

    >>> width("模型.gguf")
    9
    """
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut(text: str, most: int) -> str:
    """`text` in at most `most` columns; what was cut ends in …

    >>> cut("模型.gguf", 6)
    '模型.…'
    """
    return text if width(text) <= most else f"{head(text, most - 1)}…"


def head(text: str, most: int) -> str:
    """As many characters of `text`, from its beginning, as have room in so many columns."""
    for place, character in enumerate(text):
        most -= _columns(character)
        if most < 0:
            return text[:place]
    return text


def _columns(character: str) -> int:
    if unicodedata.east_asian_width(character) in "WF":
        return 2
    return 0 if unicodedata.category(character) in ("Mn", "Me", "Cf") else 1
