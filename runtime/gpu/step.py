"""A decode step with fused kernels on a GPU: all its launches, in order, on buffers at fixed addresses.

It computes one token for each of several requests, and can be recorded as one CUDA graph. Its result depends only on
the tokens, the positions and the caches up to them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from llorch.runtime.blocks.experts import FeedForward, Mixture, choose_experts
from llorch.runtime.blocks.linear import Linear
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.decoder import Decoder
from llorch.runtime.gpu.fuse import plain, qkv
from llorch.runtime.gpu.matrix import PackedOnGpu, runs, together
from llorch.runtime.gpu.memory import GpuCache, StepCache, ropes
from llorch.runtime.gpu.recorded import Step
from llorch.runtime.kernels.cuda import launch
from llorch.runtime.kernels.cuda.launch import ActivationRows, Caches
from llorch.runtime.mode import Mode
from llorch.runtime.weights import Attention, Layer

# the attention of a head is split: positions per program, most programs
SPLIT_POSITIONS, MOST_SPLITS = 32, 16


class DecodeStep(Step):
    """The next token of several requests, one row each, over caches of the same capacity.

    stored: a tensor that offsets to caches are measured from; the table has, after the position, the offsets of the
    row's cache and angles. A row's bits don't depend on the other rows or their number.
    """

    def __init__(self, decoder: Decoder, stored: Tensor, capacity: int, rows: int = 1) -> None:
        self.decoder, self.traits = decoder, decoder.traits
        self.device, self.rows = stored.device, rows
        numbers = decoder.weights.head.weight.numbers
        self.fast = numbers.mode is Mode.FAST
        self.ropes = ropes(self.traits)
        self.table = torch.zeros(3 + len(self.ropes), rows, dtype=torch.int64, device=self.device)
        self.token, self.position = self.table[0], self.table[1]
        angles = {rope: self.table[3 + n] for n, rope in enumerate(self.ropes)}
        self.caches = Caches(stored, self.table[2], angles, capacity)
        self.never = torch.zeros(rows, self.traits.vocabulary_size, device=self.device)
        self._buffers: dict[tuple[object, ...], Tensor | ActivationRows] = {}
        self.splits = _cache_splits(capacity)
        self.hidden, self._after = torch.empty(
            (2, rows, self.traits.hidden_size), device=self.device
        ).unbind()
        self.logits = torch.empty(rows, self.traits.vocabulary_size, device=self.device)

    def column(self, token: int, cache: StepCache) -> list[int]:
        """See `Step`."""
        assert isinstance(cache, GpuCache)
        return [token, cache.length, *cache.offsets(self.caches.stored, self.ropes)]

    def run(self) -> None:
        """See `Step`."""
        weights = self.decoder.weights
        embedding = weights.embedding
        if isinstance(embedding, PackedOnGpu):
            ids = self.token + embedding.start if embedding.start else self.token
            launch.widen_rows(embedding.held.planes, ids, self.hidden, self.traits.embedding_scale)
        else:
            self.hidden.copy_(embedding.rows_at(self.token) * self.traits.embedding_scale)
        parts: Tensor | None = None
        shares: Tensor | None = None
        post: Norm | None = None
        for index, layer in enumerate(weights.layers):
            attention, ffn = plain(layer)
            x = self._norm(layer.attention_norm, parts, shares, post, _inputs(layer))
            attended = self._attention(index, attention, x)
            if self.traits.parallel:
                parts, shares = self._feed_forward(ffn, x, attended)
            else:
                x = self._norm(layer.ffn_norm, attended, None, layer.attention_post_norm, list(ffn.linears()))
                parts, shares = self._feed_forward(ffn, x, None)
            post = layer.ffn_post_norm
        x = self._norm(weights.final_norm, parts, shares, post, [weights.head])
        self._head(weights.head, x)

    def _head(self, head: Linear, x: ActivationRows) -> None:
        self._multiply("head", [head], x, into=self.logits[None])
        if self.traits.logit_scale != 1:
            self.logits.mul_(self.traits.logit_scale)
        cap = self.traits.logit_softcap
        if cap is not None:
            self.logits.div_(cap).tanh_().mul_(cap)
        scratch = self._buffer("best", (self.rows, launch.TOP_PROGRAMS))
        launch.most_probable(self.logits, self.never, scratch, self.token, self.position)

    def _buffer(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A buffer by name and shape; shared by the layers, since they run one after the other."""
        key = (name, *shape)
        if key not in self._buffers:
            self._buffers[key] = torch.empty(shape, device=self.device)
        found = self._buffers[key]
        assert isinstance(found, Tensor)
        return found

    def _activations(self, name: str, m: int, columns: int, readers: list[Linear]) -> ActivationRows:
        packed = any(isinstance(linear.weight, PackedOnGpu) for linear in readers)
        key = (name, m, columns, packed)
        if key not in self._buffers:
            self._buffers[key] = ActivationRows.empty(m, columns, self.device, fast=self.fast, packed=packed)
        found = self._buffers[key]
        assert isinstance(found, ActivationRows)
        return found

    def _norm(
        self,
        norm: Norm | None,
        parts: Tensor | None,
        shares: Tensor | None,
        post: Norm | None,
        readers: list[Linear],
    ) -> ActivationRows:
        """Add the previous block's output to the hidden state, and return its norm."""
        out = self._activations("normed", self.rows, self.traits.hidden_size, readers)
        scale = self.traits.residual_scale
        launch.add_and_norm(self.hidden, self._after, parts, shares, post, norm, out, scale, few=True)
        if parts is not None:
            self.hidden, self._after = self._after, self.hidden
        return out

    def _multiply(
        self,
        name: str,
        linears: list[Linear],
        x: ActivationRows,
        *,
        splits: int | None = None,
        into: Tensor | None = None,
    ) -> Tensor:
        """Multiply x by several matrices into one buffer, by name or given: (splits, rows, Σ widths)."""
        found = runs(linears)
        if into is None:
            if splits is None:
                splits = min(_splits(run, x.fast) for run in found)
            width = sum(linear.weight.rows for linear in linears)
            into = self._buffer(name, (splits, self.rows, width))
        at = 0
        for run in found:
            rows = sum(linear.weight.rows for linear in run)
            self._launch(run, x, into[:, :, at : at + rows].transpose(0, 1))
            at += rows
        return into

    def _launch(self, run: list[Linear], x: ActivationRows, y: Tensor) -> None:
        weight, bias = together(run), self._bias(run)
        rows = y.shape[-1]
        if isinstance(weight, PackedOnGpu):
            planes = weight.held.planes
            cut = launch.blocking(rows, planes, fast=x.fast).with_splits(y.shape[1])
            launch.packed_linear(planes, x, y, start=weight.start, rows=rows, bias=bias, cut=cut)
            return
        for only in y.unbind(1)[1:]:
            only.zero_()
        launch.float_linear(weight.weights, x.plain, y[:, 0], bias)

    def _bias(self, run: list[Linear]) -> Tensor | None:
        if len(run) == 1 or all(linear.bias is None for linear in run):
            return run[0].bias
        key = ("bias", *(id(linear) for linear in run))
        if key not in self._buffers:
            zeros = [torch.zeros(linear.weight.rows, device=self.device) for linear in run]
            self._buffers[key] = torch.cat(
                [
                    zero if linear.bias is None else linear.bias
                    for linear, zero in zip(run, zeros, strict=True)
                ]
            )
        found = self._buffers[key]
        assert isinstance(found, Tensor)
        return found

    def _attention(self, index: int, weights: Attention, x: ActivationRows) -> Tensor:
        """The split-k parts of the output projection, (splits, rows, hidden)."""
        traits = self.traits
        products = self._multiply("qkv", qkv(weights), x)
        out = self._activations("attended", self.rows, traits.heads * traits.head_dim, [weights.output])
        shape = (self.rows, traits.heads, self.splits)
        launch.attend(
            products.transpose(0, 1),
            self.caches,
            self.position,
            out,
            layer=index,
            sums=self._buffer("sums", (*shape, launch.pad_width(traits.head_dim))),
            tops=self._buffer("tops", (*shape, 2)),
            traits=traits,
            q_norm=weights.q_norm,
            k_norm=weights.k_norm,
        )
        return self._multiply("output", [weights.output], out)

    def _feed_forward(
        self, ffn: FeedForward | Mixture, x: ActivationRows, attended: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The parts of its output, preceded by the attention's in a parallel block; and the parts' weights."""
        if isinstance(ffn, Mixture):
            return self._mixture(ffn, x, attended)
        inner = self._inner(ffn, x)
        before = 0 if attended is None else len(attended)
        splits = _splits([ffn.down], inner.fast)
        parts = self._buffer("parts", (before + splits, self.rows, self.traits.hidden_size))
        if attended is not None:
            parts[:before].copy_(attended)
        self._multiply("down", [ffn.down], inner, into=parts[before:])
        return parts, None

    def _inner(self, ffn: FeedForward, x: ActivationRows) -> ActivationRows:
        rows = ffn.up.weight.rows
        out = self._activations("inner", self.rows, rows, [ffn.down])
        if ffn.gate is None:
            up = self._multiply("up", [ffn.up], x)
            launch.gate(up.transpose(0, 1), None, out, ffn.activation)
        else:
            both = self._multiply("gate_up", [ffn.gate, ffn.up], x).transpose(0, 1)
            launch.gate(both[..., :rows], both[..., rows:], out, ffn.activation)
        return out

    def _mixture(self, mixture: Mixture, x: ActivationRows, attended: Tensor | None) -> tuple[Tensor, Tensor]:
        used, rows, hidden = mixture.routing.used, self.rows, self.traits.hidden_size
        scores = self._multiply("router", [mixture.router], x, splits=1)[0]
        weights, chosen = choose_experts(scores, mixture.routing)
        before = 0 if attended is None else len(attended)
        after = 0 if mixture.shared is None else 1
        parts = self._buffer("parts", (before + used + after, rows, hidden))
        shares = self._buffer("shares", (before + used + after, rows))
        shares.fill_(1.0)
        shares[before : before + used].copy_(weights.T)
        if attended is not None:
            parts[:before].copy_(attended)
        routed = parts[before : before + used].view(used * rows, 1, hidden)
        self._routed(mixture.experts, x, chosen.T.reshape(-1), routed)
        if mixture.shared is not None:
            if mixture.shared_gate is not None:
                gate_value = self._multiply("shared_gate", [mixture.shared_gate], x, splits=1)[0, :, 0]
                shares[-1].copy_(torch.sigmoid(gate_value))
            shared = self._inner(mixture.shared, x)
            self._multiply("shared", [mixture.shared.down], shared, into=parts[-1:])
        return parts, shares

    def _routed(self, experts: Sequence[FeedForward], x: ActivationRows, ids: Tensor, out: Tensor) -> None:
        """Compute experts `ids`: the first expert of every row of x, then the second of every row, …"""
        expert = experts[0]
        assert expert.gate is not None
        gate, up, down = (linear.weight for linear in (expert.gate, expert.up, expert.down))
        second = experts[1].up.weight
        assert isinstance(gate, PackedOnGpu)
        assert isinstance(up, PackedOnGpu)
        assert isinstance(down, PackedOnGpu)
        assert isinstance(second, PackedOnGpu)
        inner = self._activations("routed", len(ids), up.rows, [expert.down])
        both = self._buffer("routed_gate_up", (2, len(ids), 1, up.rows))
        step = second.start - up.start
        self._by_expert(gate, x, both[0], ids, step)
        self._by_expert(up, x, both[1], ids, step)
        launch.gate(both[0], both[1], inner, expert.activation)
        self._by_expert(down, inner, out, ids, down.rows)

    def _by_expert(
        self, first: PackedOnGpu, x: ActivationRows, y: Tensor, ids: Tensor, per_expert: int
    ) -> None:
        """Multiply by the matrices of chosen experts. first: expert 0's; the next one is `per_expert` rows further."""
        planes = first.held.planes
        cut = launch.blocking(first.rows, planes, fast=x.fast).with_splits(1)
        launch.packed_linear(
            planes, x, y, start=first.start, rows=first.rows, expert=ids, per_expert=per_expert, cut=cut
        )


def _inputs(layer: Layer) -> list[Linear]:
    """The linear layers that may read a layer's first norm: in a parallel block also the feed-forward network's."""
    attention, ffn = plain(layer)
    return [*qkv(attention), *ffn.linears()]


def _cache_splits(capacity: int) -> int:
    """The number of programs per head, a power of two, for a cache of this capacity."""
    splits = 1
    while splits < MOST_SPLITS and splits * SPLIT_POSITIONS < capacity:
        splits *= 2
    return splits


def _splits(run: list[Linear], fast: bool) -> int:
    weight = run[0].weight
    if not isinstance(weight, PackedOnGpu):
        return 1
    rows = sum(linear.weight.rows for linear in run)
    return launch.blocking(rows, weight.held.planes, fast=fast).splits
