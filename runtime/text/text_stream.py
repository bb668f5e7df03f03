"""Text of tokens as they come: never half a character, never part of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

REPLACEMENT = "\ufffd"  # what a tokenizer gives for bytes that are no whole character (yet)
KEPT_TOKENS = 64  # decoded again at every step; a character has four bytes, so at most four tokens


class TextStream:
    """Tokens in, text out; special tokens have no text.

    What was given stays given: text is held back while it ends in an unfinished character, or in what may
    become one of the stop strings.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = [text for text in stop if text]
        self._ids: list[int] = []
        self._decoded = 0  # characters of the kept tokens' text that have left the decoder
        self._held = ""  # decoded, but perhaps the start of a stop string
        self._whole = 0  # kept tokens after which the text last ended in whole characters
        self.stopped_by: str | None = None

    def push(self, token: int) -> str:
        """The text that this token finishes; after a stop string nothing more comes."""
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
        """What was held back, with U+FFFD for a character that never ended."""
        if self.stopped_by is not None:
            return ""
        piece = self._text()[self._decoded :]
        return self._release(piece) + self._let_go()

    def _text(self) -> str:
        text: str = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        return text

    def _forget_old(self) -> None:
        """Drops tokens whose text is out, but for some that the next ones may need for their spacing."""
        if len(self._ids) <= 2 * KEPT_TOKENS or self._whole < len(self._ids):
            return
        self._ids = self._ids[-KEPT_TOKENS:]
        self._whole = len(self._ids)
        self._decoded = len(self._text())

    def _release(self, piece: str) -> str:
        """The piece behind what was held, up to a stop string or to what may become one."""
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
    """How many characters at the end of the text are a beginning of the stop string, all of it excepted."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
