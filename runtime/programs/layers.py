"""Run tokens through all layers as one program of CPU kernels, without returning to Python in between.

It computes the same as `llorch.runtime.decoder`, in the model's numeric mode, for models whose every part is listed in
`known`. For others it raises `Unknown`, and the decoder computes instead.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from llorch.base.cores import allowed_cores
from llorch.runtime.blocks.cache import Cache
from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.latent import LatentAttention
from llorch.runtime.blocks.linear import Linear, Numbers
from llorch.runtime.kernels.cpu.pool import pool
from llorch.runtime.kernels.cpu.recorder import Floats, Recorder
from llorch.runtime.kernels.cpu.steps.small_steps import LANES
from llorch.runtime.programs.attention import attention
from llorch.runtime.programs.feed_forward import feed_forward
from llorch.runtime.programs.known import Unknown, require, require_known
from llorch.runtime.programs.latent import latent_attention
from llorch.runtime.programs.recurrent import recurrent
from llorch.runtime.programs.steps import Steps
from llorch.runtime.traits import Heads, Traits
from llorch.runtime.weights import Attention, Layer, RecurrentMixer, Weights

# Programs for up to this many tokens are kept once recorded: when requests decode together, their number changes from
# step to step. Each takes a few hundred kilobytes.
FEW = 16


class LayerPrograms:
    """The compiled programs of a model, by number of tokens. Thread-safe: only one runs at a time.

    Raises Unknown if the model, or this number of its tokens, is not supported.
    """

    def __init__(self, traits: Traits, weights: Weights, numbers: Numbers) -> None:
        require(numbers.has_kernels and numbers.rounded is None)
        require_known(traits)
        require_known(weights)
        heads = [mixer for mixer in map(traits.mixer, range(traits.n_layers)) if isinstance(mixer, Heads)]
        require(traits.hidden_size % 32 == 0 and all(mixer.head_dim % LANES == 0 for mixer in heads))
        require(all(mixer.value_dim is None for mixer in heads))
        self._traits, self._weights, self._mode = traits, weights, numbers.mode
        self._lock = threading.Lock()
        self._recorded: dict[tuple[int, bool], _Layers] = {}

    def hidden(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Hidden states after the final norm, (tokens, hidden_size), of tokens that follow those in the cache.

        Raises Unknown, before computing anything, if the program cannot be recorded.
        """
        positions = range(cache.length, cache.length + len(tokens))
        hidden = self._compute(tokens, [cache] * len(tokens), positions)
        cache.advance(len(tokens))
        return hidden

    def hidden_together(self, tokens: Tensor, caches: Sequence[Cache]) -> Tensor:
        """See `hidden`, for several requests, each with one token that follows its own cache's."""
        hidden = self._compute(tokens, caches, [cache.length for cache in caches], together=True)
        for cache in caches:
            cache.advance(1)
        return hidden

    def _compute(
        self, tokens: Tensor, caches: Sequence[Cache], positions: Sequence[int], *, together: bool = False
    ) -> Tensor:
        """Run the program. caches, positions: for each token, its request's cache and its position there."""
        with self._lock:
            count, hidden_size = len(tokens), self._traits.hidden_size
            layers, threads = self._layers(count, together), pool(torch.get_num_threads())
            rows = self._weights.embedding.rows_at(tokens) * self._traits.embedding_scale
            layers.steps.x.values[: count * hidden_size] = rows.numpy().reshape(-1)
            layers.steps.set_tokens(caches, positions, threads.threads)
            threads.run(layers.program)
            result = layers.result.values[: count * hidden_size].reshape(count, hidden_size)
            return torch.from_numpy(result.copy())

    def _layers(self, count: int, together: bool) -> _Layers:
        """The program for this many tokens; all small ones are kept, and only the most recent large one."""
        found = self._recorded.get((count, together))
        if found is None:
            recorder = Recorder(self._mode, allowed_cores(), count, together=together)
            found = _Layers(self._traits, self._weights, recorder)
            few = {kept: old for kept, old in self._recorded.items() if kept[0] <= FEW}
            self._recorded = few | {(count, together): found}
        return found


class _Layers:
    """The program of all layers and the final norm, from the hidden states in `steps.x` to those in `result`."""

    def __init__(self, traits: Traits, weights: Weights, recorder: Recorder) -> None:
        self.traits, self.steps = traits, Steps(traits, recorder)
        for index, layer in enumerate(weights.layers):
            self._record(index, layer)
        self.result = self.steps.normed(weights.final_norm, self.steps.x, "normed")
        self.program = recorder.program()

    def _record(self, index: int, layer: Layer) -> None:
        """Record one layer, from its input in x to its output, in x again."""
        require_known(layer)
        steps, x, ffn = self.steps, self.steps.x, layer.ffn
        if not isinstance(ffn, FeedForward | Mixture | None):
            raise Unknown(type(ffn))
        normed = steps.normed(layer.attention_norm, x, "normed")
        if self.traits.parallel:
            require(layer.attention_post_norm is None and layer.ffn_post_norm is None)
            if layer.attention is None or ffn is None:
                raise Unknown(layer)
            sum = steps.recorder.floats("sum", self.traits.hidden_size)
            steps.output(*self._mix(index, layer.attention, normed), None, x, sum)
            feed_forward(steps, ffn, normed, None, sum, x)
            return
        if layer.attention is not None:
            steps.output(*self._mix(index, layer.attention, normed), layer.attention_post_norm, x, x)
        if ffn is not None:
            normed = steps.normed(layer.ffn_norm, x, "normed")
            feed_forward(steps, ffn, normed, layer.ffn_post_norm, x, x)

    def _mix(self, index: int, mixer: object, normed: Floats) -> tuple[Linear, Floats]:
        """Record the layer's mixer; return its output projection and the rows for it."""
        if isinstance(mixer, Attention):
            return mixer.output, attention(self.steps, index, mixer, normed)
        if isinstance(mixer, LatentAttention):
            return mixer.output, latent_attention(self.steps, index, mixer, normed)
        if not isinstance(mixer, RecurrentMixer):
            raise Unknown(type(mixer))
        return recurrent(self.steps, index, mixer, normed)
