"""One request: a prompt in, tokens and text out, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from llorch.runtime.blocks.cache import Cache
from llorch.runtime.errors import ContextFull, RequestError
from llorch.runtime.memory import PREFILL_CHUNK
from llorch.runtime.mode import Mode
from llorch.runtime.sampling import Sampling, sample_token
from llorch.runtime.text.text_stream import TextStream

if TYPE_CHECKING:
    from llorch.runtime.model import Model


Finish = Literal["end", "stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Generation:
    """What a request gave.

    ids: the new tokens, without the one that ended it. finish: `end` (an end token), `stop` (a stop string),
    `length` (as many as asked for) or `cancelled`. mode: the arithmetic, as of the model.
    """

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    text: str
    finish: Finish
    mode: Mode


class Stream(Iterator[str]):
    """An iterator of text; its cache and its randomness are its own, whatever else runs.

    Pieces are whole characters and never empty. `cancel()`, from any thread, ends it at the next token or chunk of
    the prompt. After the last piece `generation` says how it ended.
    """

    def __init__(
        self,
        model: Model,
        prompt: Sequence[int],
        max_new_tokens: int | None,
        sampling: Sampling,
        stop: Sequence[str],
    ) -> None:
        if not prompt:
            raise RequestError("the prompt is empty: it has no token to go on from")
        room = model.n_ctx - len(prompt)
        wanted = max(room, 1) if max_new_tokens is None else max_new_tokens
        if wanted < 0:
            raise RequestError(f"{wanted} new tokens cannot be made")
        if wanted > room:
            asked = f"a prompt of {len(prompt):,} tokens and {wanted:,} new"
            raise ContextFull(len(prompt) + wanted, model.n_ctx, asked)
        self._model, self._sampling, self._wanted = model, sampling, wanted
        self.prompt_ids = tuple(prompt)
        self.ids: list[int] = []
        self._text = TextStream(model.tokenizer, stop)
        self._given: list[str] = []
        self._cancelled = False
        self._pieces = self._run(model.new_cache(len(prompt) + wanted))
        self.finish: Finish | None = None

    def cancel(self) -> None:
        """Asks the request to end as soon as it can."""
        self._cancelled = True

    def __next__(self) -> str:
        return next(self._pieces)

    @property
    def generation(self) -> Generation:
        """What came so far, or all of it once the iterator is done."""
        finish = self.finish or "cancelled"
        return Generation(self.prompt_ids, tuple(self.ids), "".join(self._given), finish, self._model.mode)

    def _run(self, cache: Cache) -> Iterator[str]:
        end_ids = self._model.end_ids
        never = [token for token in self._model.text.suppressed if 0 <= token < self._model.vocabulary_size]
        logits = self._prefill(cache) if self._wanted else None
        while logits is not None and len(self.ids) < self._wanted and not self._cancelled:
            scores = logits.numpy()
            scores[never] = -np.inf
            seen = (*self.prompt_ids, *self.ids)
            token = sample_token(scores, seen, len(self.ids), self._sampling)
            if token in end_ids:
                self.finish = "end"
                break
            self.ids.append(token)
            yield from self._told(self._text.push(token))
            if self._text.stopped_by is not None:
                self.finish = "stop"
                break
            if len(self.ids) < self._wanted:
                logits = self._step([token], cache)
        if self.finish is None:
            self.finish = "cancelled" if self._cancelled else "length"
        yield from self._told(self._text.finish())

    def _told(self, piece: str) -> Iterator[str]:
        if piece:
            self._given.append(piece)
            yield piece

    def _prefill(self, cache: Cache) -> Tensor | None:
        """Logits after the prompt's last token; None when it was cancelled before."""
        for start in range(0, len(self.prompt_ids), PREFILL_CHUNK):
            if self._cancelled:
                return None
            logits = self._step(self.prompt_ids[start : start + PREFILL_CHUNK], cache)
        return logits

    @torch.inference_mode()
    def _step(self, ids: Sequence[int], cache: Cache) -> Tensor:
        """Logits after the last of these tokens, (vocabulary,), float32 in main memory."""
        decoder = self._model.decoder
        tokens = torch.tensor(ids, dtype=torch.int64, device=self._model.numbers.device)
        return decoder.logits(self._model.hidden(tokens, cache)[-1:])[0].to("cpu", torch.float32)
