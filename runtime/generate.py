"""One request: a prompt in, tokens and text out, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llorch.runtime.mode import Mode
from llorch.runtime.request import Finish, Request, RunsRequests
from llorch.runtime.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Generation:
    """The result of a request.

    ids: the new tokens, without the one that ended it. finish: `end` (an end token), `stop` (a stop string), `length`
    (as many as asked for) or `cancelled`. mode: the model's arithmetic.
    """

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    text: str
    finish: Finish
    mode: Mode


class Stream(Iterator[str]):
    """The text of one request, as an iterator. Its cache and random numbers are its own, whatever else runs.

    Pieces are whole characters and never empty. `cancel()`, from any thread, ends it at the next token or prompt chunk.
    After the last piece, `generation` says how it ended.
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
            _ = self._request.cache  # allocated now, so that no later step runs out of memory for it

    def cancel(self) -> None:
        """Ask the request to end at the next token or prompt chunk."""
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
        """Why it ended; None while it runs."""
        return self._request.finish

    @property
    def generation(self) -> Generation:
        """The result so far; complete once the iterator is exhausted."""
        finish = self.finish or "cancelled"
        return Generation(self.prompt_ids, tuple(self.ids), "".join(self._given), finish, self._model.mode)

    def _run(self) -> Iterator[str]:
        request = self._request
        ahead: Iterator[int] | None = None
        while pending := request.pending():
            if ahead is None and request.is_decoding and (choice := request.choice) is not None:
                wanted = request.wanted - len(request.ids)
                ahead = self._model.tokens_after(pending[0], request.cache, wanted, choice)
            if self._cancelled:
                piece = request.end("cancelled")
            elif ahead is not None:
                piece = request.append(next(ahead)).text
            else:
                piece = request.accept(self._model.step(pending, request.cache).numpy()).text
            if piece:
                self._given.append(piece)
                yield piece
