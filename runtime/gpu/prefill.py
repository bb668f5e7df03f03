"""Prefill on a GPU: dequantized weights and cuBLAS products, with a few Triton kernels between them.

Exact mode is float32 throughout. Fast mode gives the tensor cores bfloat16 operands and accumulates in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llorch.runtime.blocks.attention import attend
from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.linear import Linear
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.decoder import Decoder
from llorch.runtime.gpu.fuse import plain, qkv
from llorch.runtime.gpu.matrix import runs, together
from llorch.runtime.gpu.memory import GpuCache, ropes
from llorch.runtime.kernels.cuda import launch
from llorch.runtime.kernels.cuda.launch import ActivationRows, Caches
from llorch.runtime.mode import Mode
from llorch.runtime.weights import Attention

SIZES = (
    64,
    128,
    256,
    512,
)  # token counts with a recorded graph in fast mode; the last is the chunk size of a prefill


@dataclass(frozen=True, slots=True)
class RecordedGraph:
    """A CUDA graph for a fixed number of tokens, its input, and its outputs."""

    graph: torch.cuda.CUDAGraph
    tokens: Tensor
    made: tuple[Tensor, Tensor]


class Prefill:
    """Prefill of one model over caches of one capacity, one request at a time.

    stored: a tensor in memory that offsets to caches are measured from.
    """

    def __init__(self, decoder: Decoder, stored: Tensor, capacity: int) -> None:
        self.decoder, self.traits = decoder, decoder.traits
        self.fast = decoder.weights.head.weight.numbers.mode is Mode.FAST
        self.dtype = torch.bfloat16 if self.fast else torch.float32
        self._ropes = ropes(self.traits)
        table = torch.zeros(3 + len(self._ropes), 1, dtype=torch.int64, device=stored.device)
        self._table, self.place = table, table[:2, 0]
        angles = {rope: table[3 + n] for n, rope in enumerate(self._ropes)}
        self.caches = Caches(stored, table[2], angles, capacity)
        self._recorded: dict[int, RecordedGraph | None] = {}

    def last_hidden(self, ids: Sequence[int], cache: GpuCache) -> Tensor:
        """The hidden state of the last token after the final norm, (1, hidden_size).

        ids: the tokens after those in the cache; their keys and values are added to it.

        In fast mode the tokens are padded to the next of SIZES. The second time a size occurs it is recorded as a CUDA
        graph, and replayed from then on, with the same bits.
        """
        new, device = len(ids), self._table.device
        offsets = cache.offsets(self.caches.stored, self._ropes)
        self._table.copy_(torch.tensor([cache.length, new, *offsets])[:, None])
        routed = self.traits.routing is not None  # the host must know which experts a prompt needs
        if not self.fast or routed or new > SIZES[-1] or device.type != "cuda":
            hidden = self._hidden(torch.tensor(ids).to(device), cache)
            return self._final(*(part[..., -1:, :] for part in hidden))
        size = next(size for size in SIZES if size >= new)
        padded = torch.tensor([*ids, *[0] * (size - new)])
        recorded = self._recorded.get(size)
        if recorded is None:
            tokens = padded.to(device)
            made = self._hidden(tokens, cache)
            if size in self._recorded:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    recorded_made = self._hidden(tokens, cache)
                self._recorded[size] = RecordedGraph(graph, tokens, recorded_made)
            else:
                self._recorded[size] = None
        else:
            recorded.tokens.copy_(padded)
            recorded.graph.replay()
            made = recorded.made
        return self._final(*(part[..., new - 1 : new, :] for part in made))

    def _hidden(self, ids: Tensor, cache: GpuCache) -> tuple[Tensor, Tensor]:
        """The hidden states without the last block's output, and that output: (new, hidden), (parts, new, hidden)."""
        weights = self.decoder.weights
        hidden = weights.embedding.rows_at(ids) * self.traits.embedding_scale
        parts: Tensor | None = None
        post: Norm | None = None
        for index, layer in enumerate(weights.layers):
            attention, ffn = plain(layer)
            mixed = isinstance(ffn, Mixture)
            wide = mixed and self.traits.parallel
            hidden, x = self._norm(
                layer.attention_norm, hidden, parts, post, torch.float32 if wide else self.dtype
            )
            attended = self._attention(index, attention, x, cache)
            if self.traits.parallel:
                parts = torch.stack([attended, self._feed_forward(ffn, x)])
            else:
                dtype = torch.float32 if mixed else self.dtype
                post = layer.attention_post_norm
                hidden, x = self._norm(layer.ffn_norm, hidden, attended[None], post, dtype)
                parts = self._feed_forward(ffn, x)[None]
            post = layer.ffn_post_norm
        assert parts is not None
        return hidden, parts

    def _final(self, hidden: Tensor, parts: Tensor) -> Tensor:
        weights = self.decoder.weights
        post = weights.layers[-1].ffn_post_norm
        return self._norm(weights.final_norm, hidden.contiguous(), parts.contiguous(), post, torch.float32)[1]

    def _norm(
        self, norm: Norm | None, hidden: Tensor, parts: Tensor | None, post: Norm | None, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        out = ActivationRows.row_major(torch.empty(hidden.shape, dtype=dtype, device=hidden.device))
        after = hidden if parts is None else torch.empty_like(hidden)
        launch.add_and_norm(
            hidden, after, parts, None, post, norm, out, self.traits.residual_scale, few=False
        )
        return after, out.plain

    def _attention(self, index: int, weights: Attention, x: Tensor, cache: GpuCache) -> Tensor:
        traits, new = self.traits, len(x)
        rows = _multiply(qkv(weights), x)
        queries = torch.empty((traits.heads, new, traits.head_dim), dtype=self.dtype, device=x.device)
        launch.rotate_many(
            rows,
            self.caches,
            queries,
            self.place,
            layer=index,
            traits=traits,
            q_norm=weights.q_norm,
            k_norm=weights.k_norm,
        )
        if self.fast:
            out = torch.empty((new, traits.heads * traits.head_dim), dtype=self.dtype, device=x.device)
            launch.attend_many(queries, self.caches, out, self.place, layer=index, traits=traits)
        else:
            mixed = attend(
                queries,
                *cache.read(index, new),
                scale=traits.attention_scale,
                window=traits.windows[index],
                softcap=traits.attention_softcap,
            )
            out = mixed.transpose(0, 1).reshape(new, -1)
        return _multiply([weights.output], out)

    def _feed_forward(self, ffn: FeedForward | Mixture, x: Tensor) -> Tensor:
        if isinstance(ffn, Mixture):
            return ffn(x)
        rows = ffn.up.weight.rows
        out = ActivationRows.row_major(torch.empty((len(x), rows), dtype=self.dtype, device=x.device))
        if ffn.gate is None:
            launch.gate(_multiply([ffn.up], x)[:, None], None, out, ffn.activation)
        else:
            both = _multiply([ffn.gate, ffn.up], x)[:, None]
            launch.gate(both[..., :rows], both[..., rows:], out, ffn.activation)
        return _multiply([ffn.down], out.plain)


def _multiply(linears: list[Linear], x: Tensor) -> Tensor:
    """The outputs of several linear layers for the same rows, concatenated: (new, Σ rows) float32."""
    parts = []
    for run in runs(linears):
        y = together(run).by_tiles(x)
        biases = [linear.bias for linear in run]
        if any(bias is not None for bias in biases):
            y += torch.cat(
                [y.new_zeros(linear.weight.rows) if linear.bias is None else linear.bias for linear in run]
            )
        parts.append(y)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
