"""A request between two decode steps: which tokens to compute next, and what to do with their logits.

It computes nothing itself, so the same class serves a loop over one request and a scheduler of many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from llorch.runtime.blocks.cache import Cache
from llorch.runtime.errors import ContextFull, RequestError
from llorch.runtime.memory import PREFILL_CHUNK
from llorch.runtime.mode import Mode
from llorch.runtime.sampling import Choice, Sampling, sample_token
from llorch.runtime.text.model_text import Text
from llorch.runtime.text.text_stream import TextStream

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

Finish = Literal["end", "stop", "length", "cancelled"]


class RunsRequests(Protocol):
    """The part of a model that a request and its stream use."""

    mode: Mode

    @property
    def n_ctx(self) -> int:
        """Maximum number of positions in the context."""

    @property
    def vocabulary_size(self) -> int:
        """Rows of the logits."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""

    @property
    def text(self) -> Text:
        """The model's text facts: chat template, end tokens, suppressed tokens."""

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens that end a generation."""

    def new_cache(self, planned: int) -> Cache:
        """Create an empty KV cache for a request of at most `planned` positions."""

    def step(self, ids: Sequence[int], cache: Cache) -> Tensor:
        """Logits after the last of these tokens: (vocabulary,), float32, in main memory."""

    def tokens_after(self, token: int, cache: Cache, wanted: int, choice: Choice) -> Iterator[int] | None:
        """Iterate over `wanted` tokens after `token`, sampled ahead on the device; None if it cannot."""


class Constraint(Protocol):
    """A grammar that the text must follow, such as a JSON schema: says which tokens may come next."""

    def restrict(self, scores: NDArray[np.float32]) -> None:
        """Set the scores of tokens that may not come next to -inf, in place."""

    def accept(self, token: int) -> None:
        """Advance the grammar by the chosen token."""


@dataclass(frozen=True, slots=True)
class Logprob:
    """A token and the natural logarithm of its probability, from the model's own logits before any filter."""

    token: int
    value: float


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one step.

    token: the new token; None after a part of the prompt, and if the request ended without a new token. text: the
    characters completed by it, possibly none. chosen, top: log probabilities, if the request asked for them.
    """

    token: int | None = None
    text: str = ""
    chosen: Logprob | None = None
    top: tuple[Logprob, ...] = ()


class Request:
    """One prompt and the tokens generated after it. Shares nothing with other requests.

    finish: why it ended, None while it runs. stopped_by: the stop string that ended it.

    Raises, before any computation, ContextFull if it needs more positions than the model has, and RequestError if it
    cannot be served.
    """

    def __init__(
        self,
        model: RunsRequests,
        prompt: Sequence[int],
        max_new_tokens: int | None,
        sampling: Sampling,
        stop: Sequence[str],
        *,
        ignore_end: bool = False,
        top_logprobs: int | None = None,
        constraint: Constraint | None = None,
    ) -> None:
        """top_logprobs: alternatives per token, None for no log probabilities. ignore_end: end tokens are excluded."""
        if not prompt:
            raise RequestError("the prompt is empty: it has no token to go on from")
        room = model.n_ctx - len(prompt)
        wanted = max(room, 1) if max_new_tokens is None else max_new_tokens
        if wanted < 0:
            raise RequestError(f"{wanted} new tokens cannot be made")
        if wanted > room:
            asked = f"a prompt of {len(prompt):,} tokens and {wanted:,} new"
            raise ContextFull(len(prompt) + wanted, model.n_ctx, asked)
        self.prompt_ids = tuple(prompt)
        self.ids: list[int] = []
        self.wanted = wanted
        self.sampling = sampling
        self.finish: Finish | None = "length" if wanted == 0 else None
        self._model = model
        self._computed = 0  # tokens of the prompt that the cache holds
        self._cache: Cache | None = None
        self._text = TextStream(model.tokenizer, stop)
        self._end_ids = frozenset(model.end_ids)
        text, rows = model.text, model.vocabulary_size
        self._never = [token for token in text.suppressed if 0 <= token < rows]
        self._never += range(rows if text.size is None else text.size, rows)
        if ignore_end:
            self._never += [token for token in self._end_ids if 0 <= token < model.vocabulary_size]
        self._top_logprobs = top_logprobs
        self._constraint = constraint

    @property
    def planned(self) -> int:
        """Most positions that it can reach: the prompt's and all new tokens'."""
        return len(self.prompt_ids) + self.wanted

    @property
    def cache(self) -> Cache:
        """Its KV cache, created on first use."""
        if self._cache is None:
            self._cache = self._model.new_cache(self.planned)
        return self._cache

    @property
    def stopped_by(self) -> str | None:
        """The stop string at which it ended."""
        return self._text.stopped_by

    @property
    def is_decoding(self) -> bool:
        """Whether the next step is a decode step, not a part of the prompt."""
        return self.finish is None and self._computed == len(self.prompt_ids)

    @property
    def choice(self) -> Choice | None:
        """How the next token is sampled, if the device may do it: its logits alone decide, no log probabilities."""
        if self._constraint is not None or self._top_logprobs is not None or self.sampling.has_penalties:
            return None
        return Choice(self.sampling, len(self.ids), self._never)

    def pending(self) -> tuple[int, ...]:
        """The tokens to compute next: a chunk of the prompt or the newest token; none once the request has ended."""
        if self.finish is not None:
            return ()
        if self._computed < len(self.prompt_ids):
            return self.prompt_ids[self._computed : self._computed + PREFILL_CHUNK]
        return (self.ids[-1],)

    def accept(self, logits: NDArray[np.float32]) -> Step:
        """Sample the next token from the logits after the pending tokens, (vocabulary,), which are modified."""
        if self._computed < len(self.prompt_ids):
            self._computed += len(self.pending())
            if self._computed < len(self.prompt_ids):
                return Step()
        chosen_of = None if self._top_logprobs is None else logits.astype(np.float64)
        logits[self._never] = -np.inf
        if self._constraint is not None:
            self._constraint.restrict(logits)
        token = sample_token(logits, (*self.prompt_ids, *self.ids), len(self.ids), self.sampling)
        step = self.append(token)
        if chosen_of is None or step.token is None:
            return step
        return Step(step.token, step.text, *_logprobs(chosen_of, token, self._top_logprobs or 0))

    def is_last(self, token: int) -> bool:
        """Whether `token`, as the next one, is certain to be the last. A stop string may end the request earlier."""
        return token in self._end_ids or len(self.ids) + 1 == self.wanted

    def append(self, token: int) -> Step:
        """Append the next token, however it was chosen, and say what follows from it."""
        if token in self._end_ids:
            return Step(text=self.end("end"))
        if self._constraint is not None:
            self._constraint.accept(token)
        self.ids.append(token)
        text = self._text.push(token)
        if self._text.stopped_by is not None:
            text += self.end("stop")
        elif len(self.ids) == self.wanted:
            text += self.end("length")
        return Step(token, text)

    def end(self, finish: Finish) -> str:
        """End the request, free its cache, and return the text held back for stop strings or unfinished characters."""
        self.finish = finish
        self._cache = None
        return self._text.finish()


def _logprobs(logits: NDArray[np.float64], token: int, most: int) -> tuple[Logprob, tuple[Logprob, ...]]:
    """Log probabilities of `token` and of the `most` likeliest tokens, ties by rising id."""
    values = logits - logits.max()
    values -= np.log(np.exp(values).sum())
    largest = np.argsort(-values, kind="stable")[:most] if most else ()
    return Logprob(token, float(values[token])), tuple(Logprob(int(i), float(values[i])) for i in largest)
