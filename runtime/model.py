"""A loaded model: what a user of the runtime holds."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from llorch.runtime.blocks.cache import Cache
from llorch.runtime.blocks.linear import Numbers
from llorch.runtime.decoder import Decoder, Observe
from llorch.runtime.devices import layers_by_device
from llorch.runtime.errors import RequestError, UnknownToken
from llorch.runtime.generate import Generation, Stream
from llorch.runtime.memory import PREFILL_CHUNK
from llorch.runtime.mode import Mode
from llorch.runtime.programs.known import Unknown
from llorch.runtime.programs.layers import LayerPrograms
from llorch.runtime.sampling import Choice, Sampling
from llorch.runtime.text.model_text import Text
from llorch.runtime.traits import Traits
from llorch.runtime.weights import Weights

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from llorch.runtime.gpu.sessions import Sessions

Format = Literal["gguf", "safetensors"]
GREEDY = Sampling()


class Model:
    """One decoder with its weights, from a file or a folder; requests share nothing but the weights.

    mode: how its numbers are computed; every result carries it.
    """

    def __init__(
        self,
        path: Path,
        format: Format,
        traits: Traits,
        weights: Weights,
        numbers: Numbers,
        text: Callable[[], Text],
        close: Callable[[], None],
    ) -> None:
        self.path = path
        self.format = format
        self.traits = traits
        self.decoder = Decoder(traits, weights)
        self.numbers = numbers
        self.mode = numbers.mode
        self._programs: LayerPrograms | None = None
        self.sessions: Sessions | None = None
        if numbers.on_gpu:
            from llorch.runtime.gpu.sessions import Sessions  # Triton: only a GPU needs it

            self.sessions = Sessions(self.decoder, numbers.device)
        self._make_text = text
        self._text: Text | None = None
        self._finalizer = weakref.finalize(self, close)

    def __repr__(self) -> str:
        traits = self.traits
        return (
            f"<llorch model {self.path.name}: {self.format}, {traits.n_layers} layers of {traits.hidden_size},"
            f" {traits.n_ctx} positions, {self.mode} on {self.placed or self.numbers.device}>"
        )

    @property
    def placed(self) -> str:
        """Which layers are on which device, where there are several; else empty."""
        devices = self.decoder.weights.devices
        return layers_by_device([str(device) for device in devices]) if devices else ""

    def close(self) -> None:
        """Closes the model's files; weights that were not used yet can no longer be read."""
        self._finalizer()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def device_bytes(self) -> int:
        """Memory of its device that this process has taken; 0 on a CPU, which has none of its own."""
        if self.numbers.device.type == "cuda":
            return int(torch.cuda.memory_allocated(self.numbers.device))
        return 0

    @property
    def batches(self) -> bool:
        """Whether tokens of several requests may be computed in one step.

        Not in exact mode, where that would change bits, but on a GPU, whose kernels compute each row by itself.
        """
        return self.mode != "exact" if self.sessions is None else self.sessions.fused

    @property
    def chooses(self) -> bool:
        """Whether its device chooses tokens itself, so that no logits come back: see `choose_together`."""
        return self.sessions is not None and self.sessions.records

    @property
    def n_ctx(self) -> int:
        """Positions of its context."""
        return self.traits.n_ctx

    @property
    def vocabulary_size(self) -> int:
        """Width of the logits; ids beyond the tokenizer's are padding."""
        return self.traits.vocabulary_size

    @property
    def text(self) -> Text:
        """Its tokenizer and template; an InputError where the files have none that can be used."""
        if self._text is None:
            self._text = self._make_text()
        return self._text

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        return self.text.tokenizer

    @property
    def chat_template(self) -> str | None:
        """Its chat template, in Jinja."""
        return self.text.chat_template

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens after which a generation stops."""
        return self.text.end_ids

    def new_cache(self, planned: int) -> Cache:
        """An empty cache for one request of at most `planned` positions; ContextFull if the model has fewer."""
        if self.sessions is not None and self.sessions.records:
            return self.sessions.new_cache(planned)
        devices = self.decoder.weights.devices
        return Cache(self.traits, planned, self.numbers.dtype, self.numbers.device, devices)

    def hidden(self, tokens: Tensor, cache: Cache) -> Tensor:
        """As the decoder's, but for rounding, by programs of kernels where there are some."""
        if len(tokens) and cache.length + len(tokens) <= cache.planned:
            with suppress(Unknown):
                programs = self._layer_programs()
                chunks = torch.split(tokens, PREFILL_CHUNK)
                return torch.cat([programs.hidden(chunk, cache) for chunk in chunks])
        return self.decoder.hidden(tokens, cache)

    def hidden_together(self, tokens: Tensor, caches: Sequence[Cache]) -> Tensor:
        """As the decoder's, one token of each request, by a program of kernels where there is one."""
        if len(tokens) and all(cache.length < cache.planned for cache in caches):
            with suppress(Unknown):
                return self._layer_programs().hidden_together(tokens, caches)
        return self.decoder.hidden_together(tokens, caches)

    def _layer_programs(self) -> LayerPrograms:
        """Unknown where the model's devices, or a part of it, have none."""
        if self.sessions is not None or self.decoder.weights.devices:
            raise Unknown
        if self._programs is None:
            self._programs = LayerPrograms(self.traits, self.decoder.weights, self.numbers)
        return self._programs

    @torch.inference_mode()
    def logits(
        self,
        ids: Sequence[int],
        *,
        chunk: int | None = None,
        planned: int | None = None,
        observe: Observe | None = None,
    ) -> Tensor:
        """Logits after every token of a sequence: (len(ids), vocabulary_size), float32, in main memory.

        chunk: tokens at a time, all by default; the result differs by rounding only.
        planned: positions that the sequence is thought to grow to, by default its length; rotary embeddings
            with a list for long sequences choose by it.
        observe: told every intermediate value, see `llorch.runtime.decoder.Observe`.
        """
        require_known(ids, self.vocabulary_size)
        if chunk is not None and chunk < 1:
            raise RequestError(f"a chunk of {chunk} tokens cannot be computed")
        cache = self.new_cache(max(len(ids), planned or 0))
        tokens = torch.tensor(ids, dtype=torch.int64, device=self.numbers.device)
        out = torch.empty((len(ids), self.vocabulary_size), dtype=torch.float32)
        step = chunk or max(1, len(ids))
        for start in range(0, len(ids), step):
            part = tokens[start : start + step]
            if observe is None and self.mode is not Mode.EXACT:
                hidden = self.hidden(part, cache)
            else:  # the same bits whether somebody looks on or not
                hidden = self.decoder.hidden(part, cache, observe)
            out[start : start + step] = self.decoder.logits(hidden, observe)
        return out

    @torch.inference_mode()
    def step(self, ids: Sequence[int], cache: Cache) -> Tensor:
        """Logits after the last of these tokens: (vocabulary,), float32, in main memory.

        ids: the tokens that follow what the cache holds; they are added to it.
        """
        if self.sessions is not None:
            logits = self.sessions.next_logits(ids, cache)
            if logits is not None:
                return logits.cpu()
        tokens = torch.tensor(ids, dtype=torch.int64, device=self.numbers.device)
        return self.decoder.logits(self.hidden(tokens, cache)[-1:])[0].to("cpu", torch.float32)

    def tokens_after(self, token: int, cache: Cache, wanted: int, choice: Choice) -> Iterator[int] | None:
        """So many tokens after `token`, chosen by the device and computed a little ahead of what is taken.

        cache: used for nothing else from then on. choice: of the first one; those after it count on. None where the
        device has no way to do that: then `step` gives logits to choose by.
        """
        return None if self.sessions is None else self.sessions.tokens_after(token, cache, wanted, choice)

    def choose_together(
        self, ids: Sequence[int], caches: Sequence[Cache], choices: Sequence[Choice]
    ) -> Callable[[], list[int]]:
        """Begins with the next token of several requests, each after one more token, where the model `chooses`.

        Called, what is returned waits for the tokens. The bits, and so the tokens, are those of each request alone.
        """
        assert self.sessions is not None
        return self.sessions.choose_together(ids, caches, choices)

    @torch.inference_mode()
    def step_together(self, ids: Sequence[int], caches: Sequence[Cache]) -> Tensor:
        """Logits of several requests, each after one more token: (requests, vocabulary), float32, in main memory.

        On a processor their products are computed as one, which rounds otherwise than one alone: see `batches`.
        """
        if self.sessions is not None and (logits := self.sessions.logits_together(ids, caches)) is not None:
            return logits.cpu()
        tokens = torch.tensor(ids, dtype=torch.int64, device=self.numbers.device)
        return self.decoder.logits(self.hidden_together(tokens, caches)).to("cpu", torch.float32)

    def stream(
        self,
        prompt: str | Sequence[int],
        *,
        max_new_tokens: int | None = None,
        sampling: Sampling = GREEDY,
        stop: Sequence[str] = (),
    ) -> Stream:
        """A request whose text comes piece by piece.

        prompt: text, encoded as the tokenizer does by itself, or token ids. max_new_tokens: all that the context
        has room for by default. stop: strings at which it ends, themselves left out.

        Raises, before any computation, ContextFull where the request needs more positions than the model
        has, UnknownToken and RequestError where it cannot be served.
        """
        ids = self.tokenizer.encode(prompt).ids if isinstance(prompt, str) else list(prompt)
        require_known(ids, self.vocabulary_size)
        return Stream(self, ids, max_new_tokens, sampling, stop)

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        max_new_tokens: int | None = None,
        sampling: Sampling = GREEDY,
        stop: Sequence[str] = (),
    ) -> Generation:
        """As `stream`, all at once."""
        stream = self.stream(prompt, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop)
        for _ in stream:
            pass
        return stream.generation


def require_known(ids: Sequence[int], vocabulary_size: int) -> None:
    """UnknownToken for the first id that the model has no row for."""
    for token in ids:
        if not 0 <= token < vocabulary_size:
            raise UnknownToken(token, vocabulary_size)
