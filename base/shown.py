"""How text that came from a file is shown: one line, no control characters, bounded."""

from __future__ import annotations

import os


def shown(text: str | bytes | os.PathLike[str], most: int = 80, *, quoted: bool = True) -> str:
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
