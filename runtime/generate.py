"""One request: a prompt in, tokens and text out, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llorch.runtime.mode import Mode
from llorch.runtime.request import Finish, Request, RunsRequests
from llorch.runtime.sampling import Sampling


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
        model: RunsRequests,
        prompt: Sequence[int],
        max_new_tokens: int | None,
        sampling: Sampling,
        stop: Sequence[str],
    ) -> None:
        self._model = model
        self._request = Request(model, prompt, max_new_tokens, sampling, stop)
        self._given: list[str] = []
        self._cancelled = False
        self._pieces = self._run()
        if self._request.wanted:
            _ = self._request.cache  # taken now, so that no later step can fail for want of it

    def cancel(self) -> None:
        """Asks the request to end as soon as it can."""
        self._cancelled = True

    def __next__(self) -> str:
        return next(self._pieces)

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The prompt's tokens."""
        return self._request.prompt_ids

    @property
    def ids(self) -> list[int]:
        """The new tokens so far."""
        return self._request.ids

    @property
    def finish(self) -> Finish | None:
        """How it ended; None while it goes on."""
        return self._request.finish

    @property
    def generation(self) -> Generation:
        """What came so far, or all of it once the iterator is done."""
        finish = self.finish or "cancelled"
        return Generation(self.prompt_ids, tuple(self.ids), "".join(self._given), finish, self._model.mode)

    def _run(self) -> Iterator[str]:
        request = self._request
        ahead: Iterator[int] | None = None
        while pending := request.pending():
            if ahead is None and request.decodes and (choice := request.choice) is not None:
                wanted = request.wanted - len(request.ids)
                ahead = self._model.tokens_after(pending[0], request.cache, wanted, choice)
            if self._cancelled:
                piece = request.end("cancelled")
            elif ahead is not None:
                piece = request.take(next(ahead)).text
            else:
                piece = request.accept(self._model.step(pending, request.cache).numpy()).text
            if piece:
                self._given.append(piece)
                yield piece
