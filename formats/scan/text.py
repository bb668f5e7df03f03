"""Characters and phrases that an untrusted text should not contain, whatever it is for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from llorch.base.printable import printable
from llorch.formats.scan.rules import Finding

# Bidirectional controls, Unicode TR9: overrides, embeddings and isolates reorder a line. LRM, RLM and ALM (MARKS) are
# normal in right-to-left scripts.
BIDIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
MARKS = frozenset("\u200e\u200f\u061c")
JOINERS = frozenset("\u200c\u200d")  # normal in many scripts and in emoji
FILLERS = frozenset("\u2028\u2029\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u3164\uffa0\u2800")
ALLOWED_CONTROLS = frozenset("\t\n\r")

_SUSPECT = re.compile(r"[^\x20-\x7e\t\n\r]")
_WORD = re.compile(r"[^\W\d_]+")
_LOOKALIKES = {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"}

INSTRUCTION = re.compile(
    r"""(?ix)
    \b(?:ignore|disregard|forget|override|bypass)\s+(?:\w+\s+){0,3}?
        (?:previous|prior|above|earlier|preceding|former|system|safety)\s+(?:\w+\s+)?
        (?:instruction|prompt|message|rule|guideline|context|direction|polic)\w*
    | \b(?:do\s+not|don'?t|never)\s+(?:ever\s+)?(?:tell|inform|warn|alert|notify)\s+(?:the\s+)?
        (?:user|human|customer|anyone)\b(?!\s+about\s+(?:the\s+)?(?:function|tool))
    | \b(?:do\s+not|don'?t|never)\s+(?:ever\s+)?(?:mention|reveal|disclose)\s+(?:this|that|these)\b
    | \bwithout\s+(?:telling|informing|notifying|alerting|asking)\s+(?:the\s+)?(?:user|human|them|anyone)
    | \b(?:secretly|covertly|silently)\s+\w+
    | \b(?:send|post|upload|forward|exfiltrate|leak|transmit|e-?mail)\s+(?:\w+['’]?\w*\s+){0,5}?
        (?:password|credential|secret|token|api\s*key|conversation|private\s+key|data)s?\b[^.\n]{0,40}\bto\b
    | \b(?:always|secretly|must)\s+(?:recommend|promote|advertise|endorse|favou?r|insert|append|include)\s+
        (?:\w+\s+){0,4}?(?:link|url|backdoor|vulnerab\w*|product|brand|sponsor|address)\w*
    | \b(?:always|only)\s+recommend\b
    | \byou\s+(?:are|have)\s+(?:now\s+)?(?:dan\b|jailbroken|unrestricted|no\s+restrictions)
    """
)
NETWORK = re.compile(
    r"\b(?:https?|ftps?|wss?|data|javascript|gopher|ssh|ldap)://?[^\s'\"<>{}\\]{1,200}"
    r"|(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?(?![\w.])"
)
SHELL = re.compile(
    r"(?i)\bfile://|/etc/(?:passwd|shadow|hosts)|/bin/(?:ba|z|da)?sh\b|/proc/self|/dev/tcp|\bcmd\.exe|\bpowershell\b"
    r"|\b(?:curl|wget|nc)\s+(?:-\w+\s+)*(?:https?:|\S+\.\w{2,}/|-\w)|\bsubprocess\.|\bos\.(?:system|popen|environ)"
    r"|\bpopen\b|__import__|\.ssh/|\bid_rsa\b|\bAWS_SECRET|\b(?:eval|exec)\s*\(\s*['\"]|\brm\s+-rf\b"
)
SCRIPT = re.compile(
    r"(?i)<\s*(?:script|iframe|object|embed|svg\s+on\w+)\b[^>]{0,200}>|\bjavascript:\S|\bon(?:error|load|click)\s*="
)
ENCODED = re.compile(
    r"(?<![\w+/=-])(?:[A-Za-z0-9+/]{80,}={0,2}|(?:[0-9a-fA-F]{2}){40,}|(?:\\x[0-9a-fA-F]{2}){12,})"
)


def scan_text(text: str, where: str, *, lines: bool = True) -> Iterator[Finding]:
    r"""Yield suspicious characters and phrases in a text that a person or a model will read.

    lines: whether the text has meaningful line numbers.

    >>> [str(one) for one in scan_text("na\u200bme", "general.name", lines=False)]
    ['general.name: invisible: U+200B']
    """
    yield from scan_characters(text, where, lines=lines)
    for rule, pattern in (("instruction", INSTRUCTION), ("script", SCRIPT)):
        yield from matches(rule, pattern, text, where, lines=lines)


def matches(
    rule: str, pattern: re.Pattern[str], text: str, where: str, *, lines: bool = True, line: int | None = None
) -> Iterator[Finding]:
    """Yield a finding for the first five matches of a pattern. line: the line on which the text begins."""
    for found, _ in zip(pattern.finditer(text), range(5), strict=False):
        at = text.count("\n", 0, found.start()) + (line or 1) if lines else line
        yield Finding(rule, where, at, printable(found[0], 100))


def scan_characters(
    text: str, where: str, *, lines: bool = True, line: int | None = None
) -> Iterator[Finding]:
    """Yield characters that hide, reorder or control text, and words that mix alphabets."""
    for found in _SUSPECT.finditer(text):
        rule = character_rule(text, found.start())
        if rule is not None:
            at = text.count("\n", 0, found.start()) + (line or 1) if lines else line
            yield Finding(rule, where, at, f"U+{ord(found[0]):04X}")
    if not text.isascii():
        for found in _WORD.finditer(text):
            if not found[0].isascii() and is_mixed(found[0]):
                at = text.count("\n", 0, found.start()) + (line or 1) if lines else line
                escaped = found[0].encode("ascii", "backslashreplace").decode()
                yield Finding("mixed-script", where, at, printable(found[0], 60) + f", {escaped[:100]}")


def character_rule(text: str, at: int) -> str | None:
    """Return the rule that the character at index `at` breaks; None if it is fine there."""
    character = text[at]
    category = unicodedata.category(character)
    if character in BIDIRECTIONAL:
        return "bidirectional"
    if category == "Cc":
        return None if character in ALLOWED_CONTROLS else "control-character"
    if category == "Cs" or character in FILLERS:
        return "invisible"
    if character in MARKS:
        return None if _has_neighbour(text, at, _is_right_to_left) else "invisible"
    if character in JOINERS:
        return None if _has_neighbour(text, at, _uses_joiners) else "invisible"
    if category == "Cf" or "\U000e0100" <= character <= "\U000e01ef":
        return "invisible"
    if "\ufe00" <= character <= "\ufe0f":  # variation selectors
        return None if at and not text[at - 1].isascii() and text[at - 1].isprintable() else _keycap(text, at)
    return None


def _keycap(text: str, at: int) -> str | None:
    r"""Allow the selector in keycaps, `1\ufe0f\u20e3`; after other ASCII, selectors can hide bits: "invisible"."""
    return (
        None
        if text[at : at + 2] == "\ufe0f\u20e3" and text[max(at - 1, 0)] in "0123456789#*"
        else "invisible"
    )


def _has_neighbour(text: str, at: int, allowed: object) -> bool:
    """Return whether a neighbour of the character belongs to a script that uses it."""
    return any(allowed(one) for one in (text[at - 1 : at] if at else "") + text[at + 1 : at + 2])  # type: ignore[operator]


def _is_right_to_left(character: str) -> bool:
    return unicodedata.bidirectional(character) in ("R", "AL", "AN")


def _uses_joiners(character: str) -> bool:
    """Return whether the script of a letter or sign uses joiners: not ASCII, Latin, Greek, Cyrillic or similar."""
    if character.isascii() or unicodedata.category(character) in ("Cf", "Cc", "Zs"):
        return False
    return script_of(character) not in ("LATIN", *_LOOKALIKES)


def is_mixed(word: str) -> bool:
    """Return whether a word mixes Latin letters with look-alike alphabets, or with full-width or bold letters."""
    if re.search("[A-Za-z]", word) and any(is_styled(letter) for letter in word):
        return True
    scripts = {script_of(letter) for letter in word}
    return "LATIN" in scripts and bool(scripts & _LOOKALIKES)


def is_styled(letter: str) -> bool:
    """Return whether a letter is a styled form of an ASCII letter: full width, bold, circled."""
    plain = unicodedata.normalize("NFKC", letter)
    return not letter.isascii() and len(plain) == 1 and plain.isascii() and plain.isalpha()


def script_of(letter: str) -> str:
    """Return the first word of a letter's Unicode name, which is its script where it matters here."""
    return unicodedata.name(letter, "").split(" ", 1)[0]
