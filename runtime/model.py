"""A loaded model: logits, single decode steps, and text generation."""

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
    """A decoder with its weights, loaded from a file or a folder. Requests share nothing but the weights.

    mode: the arithmetic of its products (exact, verify or fast); recorded in every result.
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
        if numbers.on_gpu and not numbers.lazy:
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
        """Which layers are on which device, as text; empty if the model is on one device."""
        devices = self.decoder.weights.devices
        return layers_by_device([str(device) for device in devices]) if devices else ""

    def close(self) -> None:
        """Close the model's files. Weights that have not been used yet can no longer be read."""
        self._finalizer()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def device_bytes(self) -> int:
        """Bytes of GPU memory allocated by this process on the model's device; 0 on a CPU."""
        if self.numbers.device.type == "cuda":
            return int(torch.cuda.memory_allocated(self.numbers.device))
        return 0

    @property
    def can_batch(self) -> bool:
        """Whether tokens of several requests may be computed in one step.

        On a CPU, outside exact mode only: batching changes bits. On a GPU, with fused kernels only: they compute each
        row independently.
        """
        return self.mode != "exact" if self.sessions is None else self.sessions.fused

    @property
    def samples_on_device(self) -> bool:
        """Whether the GPU samples the tokens itself, so that no logits are copied back: see `choose_together`."""
        return self.sessions is not None and self.sessions.records

    @property
    def n_ctx(self) -> int:
        """Maximum number of positions in the context."""
        return self.traits.n_ctx

    @property
    def vocabulary_size(self) -> int:
        """Width of the logits; may exceed the tokenizer's size, the ids beyond it being padding."""
        return self.traits.vocabulary_size

    @property
    def text(self) -> Text:
        """The tokenizer and chat template; InputError if the files have none or they cannot be used."""
        if self._text is None:
            self._text = self._make_text()
        return self._text

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        return self.text.tokenizer

    @property
    def chat_template(self) -> str | None:
        """The chat template (Jinja), if there is one."""
        return self.text.chat_template

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens that end a generation."""
        return self.text.end_ids

    def new_cache(self, planned: int) -> Cache:
        """Create an empty KV cache for a request of at most `planned` positions; ContextFull if the model has fewer."""
        if self.sessions is not None and self.sessions.records:
            return self.sessions.new_cache(planned)
        devices = self.decoder.weights.devices
        return Cache(self.traits, planned, self.numbers.dtype, self.numbers.device, devices)

    def hidden(self, tokens: Tensor, cache: Cache) -> Tensor:
        """See `Decoder.hidden`; by the compiled layer programs where there are any, equal but for rounding."""
        if len(tokens) and cache.length + len(tokens) <= cache.planned:
            with suppress(Unknown):
                programs = self._layer_programs()
                chunks = torch.split(tokens, PREFILL_CHUNK)
                return torch.cat([programs.hidden(chunk, cache) for chunk in chunks])
        return self.decoder.hidden(tokens, cache)

    def hidden_together(self, tokens: Tensor, caches: Sequence[Cache]) -> Tensor:
        """See `Decoder.hidden_together`; by the compiled layer programs if the model has them."""
        if len(tokens) and all(cache.length < cache.planned for cache in caches):
            with suppress(Unknown):
                return self._layer_programs().hidden_together(tokens, caches)
        return self.decoder.hidden_together(tokens, caches)

    def _layer_programs(self) -> LayerPrograms:
        """The compiled programs of the layers; raises Unknown if this device or one of the model's blocks has none."""
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

        chunk: tokens per forward pass, all by default; the result differs by rounding only.
        planned: length that the sequence is expected to reach, by default its own; RoPE with separate factors for short
            and long contexts chooses by it.
        observe: called with every intermediate value, see `llorch.runtime.decoder.Observe`.
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
            else:  # in exact mode the bits must not depend on being observed
                hidden = self.decoder.hidden(part, cache, observe)
            out[start : start + step] = self.decoder.logits(hidden, observe)
        return out

    @torch.inference_mode()
    def step(self, ids: Sequence[int], cache: Cache) -> Tensor:
        """Logits after the last of these tokens: (vocabulary,), float32, in main memory.

        ids: the tokens that follow those in the cache; they are appended to it.
        """
        if self.sessions is not None:
            logits = self.sessions.next_logits(ids, cache)
            if logits is not None:
                return logits.cpu()
        tokens = torch.tensor(ids, dtype=torch.int64, device=self.numbers.device)
        return self.decoder.logits(self.hidden(tokens, cache)[-1:])[0].to("cpu", torch.float32)

    def tokens_after(self, token: int, cache: Cache, wanted: int, choice: Choice) -> Iterator[int] | None:
        """Iterate over `wanted` tokens after `token`, sampled on the GPU, which runs a little ahead of the consumer.

        cache: must not be used for anything else afterwards. choice: how the first of them is sampled; its step is
        counted up for the others. None if the device cannot do this: sample from the logits of `step` instead.
        """
        return None if self.sessions is None else self.sessions.tokens_after(token, cache, wanted, choice)

    def choose_together(
        self, ids: Sequence[int], caches: Sequence[Cache], choices: Sequence[Choice]
    ) -> Callable[[], list[int]]:
        """Start sampling the next token of several requests, each given one more token; needs `samples_on_device`.

        The returned function waits for the tokens. They, and the bits they come from, are those of each request
        computed alone.
        """
        assert self.sessions is not None
        return self.sessions.choose_together(ids, caches, choices)

    @torch.inference_mode()
    def step_together(self, ids: Sequence[int], caches: Sequence[Cache]) -> Tensor:
        """Logits of several requests, each given one more token: (requests, vocabulary), float32, in main memory.

        On a CPU the rows are multiplied as one batch, which rounds differently from one row alone: see `can_batch`.
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
        """Start a request whose text is generated piece by piece.

        prompt: text, encoded with the tokenizer's defaults, or token ids. max_new_tokens: by default all that the
        context has room for. stop: strings that end the generation; they are not part of the text.

        Raises, before any computation, ContextFull if the request needs more positions than the model has, UnknownToken
        and RequestError if it cannot be served.
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
        """Generate the whole text at once; see `stream`."""
        stream = self.stream(prompt, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop)
        for _ in stream:
            pass
        return stream.generation


def require_known(ids: Sequence[int], vocabulary_size: int) -> None:
    """Raise UnknownToken for the first id outside the vocabulary."""
    for token in ids:
        if not 0 <= token < vocabulary_size:
            raise UnknownToken(token, vocabulary_size)
