"""Decode generated tokens incrementally: never half a character, never part of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

REPLACEMENT = "\ufffd"  # what a tokenizer decodes incomplete characters to
KEPT_TOKENS = 64  # decoded again at every step; an incomplete character spans at most four tokens


class TextStream:
    """Tokens in, text out; special tokens have no text.

    Text is never taken back: it is withheld while it ends in an incomplete character, or in a possible beginning of a
    stop string.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = [text for text in stop if text]
        self._ids: list[int] = []
        self._decoded = 0  # characters of the kept tokens' text that have been passed on
        self._held = ""  # decoded, but possibly the beginning of a stop string
        self._whole = 0  # number of kept tokens after which the text last ended in a complete character
        self.stopped_by: str | None = None

    def push(self, token: int) -> str:
        """Add a token; return the text that it completes. After a stop string, always empty."""
        self._ids.append(token)
        text = self._text()
        finished = text.rstrip(REPLACEMENT)
        piece = finished[self._decoded :]
        self._decoded = max(self._decoded, len(finished))
        if finished == text:
            self._whole = len(self._ids)
        self._forget_old()
        return self._release(piece)

    def finish(self) -> str:
        """End the text; return what was withheld, with U+FFFD for an incomplete character."""
        if self.stopped_by is not None:
            return ""
        piece = self._text()[self._decoded :]
        return self._release(piece) + self._let_go()

    def _text(self) -> str:
        text: str = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        return text

    def _forget_old(self) -> None:
        """Drop tokens whose text has been passed on, except some that later tokens' spacing may depend on."""
        if len(self._ids) <= 2 * KEPT_TOKENS or self._whole < len(self._ids):
            return
        self._ids = self._ids[-KEPT_TOKENS:]
        self._whole = len(self._ids)
        self._decoded = len(self._text())

    def _release(self, piece: str) -> str:
        """Append to the withheld text; return it up to a stop string or to a possible beginning of one."""
        if self.stopped_by is not None:
            return ""
        text = self._held + piece
        hits = [(at, stop) for stop in self._stop if (at := text.find(stop)) >= 0]
        if hits:
            at, self.stopped_by = min(hits, key=lambda hit: (hit[0], -len(hit[1])))
            self._held = ""
            return text[:at]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _let_go(self) -> str:
        held, self._held = self._held, ""
        return held if self.stopped_by is None else ""


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper prefix of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
