"""One decode step of a model on a GPU: every kernel of it, in order, on buffers that stay where they are.

Run as it stands it computes one token; recorded once, it is one CUDA graph. Nothing in it depends on what ran before
but the token, the position and the cache below it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llorch.runtime.blocks.experts import FeedForward, Mixture, choose_experts
from llorch.runtime.blocks.linear import Linear
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.blocks.rope import rotation
from llorch.runtime.decoder import Decoder
from llorch.runtime.gpu.fuse import plain, qkv
from llorch.runtime.gpu.matrix import PackedOnGpu, runs, together
from llorch.runtime.kernels.cuda import launch
from llorch.runtime.kernels.cuda.launch import Emitted
from llorch.runtime.mode import Mode
from llorch.runtime.traits import Rope
from llorch.runtime.weights import Attention, Layer

SPLIT_POSITIONS = 256  # of a cache for each program that reads one head
FEWEST_SPLITS, MOST_SPLITS = 4, 16


class DecodeStep:
    """A model's next token over one cache.

    stored: (layers, 2, kv_heads, positions, head_dim) float32, the cache. planned: positions that the request may
    grow to, by which its rotary embeddings are chosen. token, position: the input, one number each. logits: the
    output, (vocabulary,) float32; `token` and `position` are then those of the next step, the token the most probable.
    """

    def __init__(self, decoder: Decoder, stored: Tensor, planned: int) -> None:
        self.decoder, self.traits, self.stored = decoder, decoder.traits, stored
        self.device = stored.device
        numbers = decoder.weights.head.weight.numbers
        self.fast = numbers.mode is Mode.FAST
        self.token = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.position = torch.zeros(1, dtype=torch.int32, device=self.device)
        self.never = torch.zeros(self.traits.vocabulary_size, device=self.device)
        self._buffers: dict[tuple[object, ...], Tensor | Emitted] = {}
        self.angles = {
            rope: self._table(rope, planned) for rope in set(self.traits.ropes) if rope is not None
        }
        self.splits = min(MOST_SPLITS, max(FEWEST_SPLITS, -(-stored.shape[3] // SPLIT_POSITIONS)))
        self.hidden, self._after = torch.empty((2, 1, self.traits.hidden_size), device=self.device).unbind()
        self.logits = torch.empty(self.traits.vocabulary_size, device=self.device)

    def plan(self, planned: int) -> None:
        """Chooses the rotary embeddings of a request that may grow to so many positions."""
        for rope, table in self.angles.items():
            table.copy_(self._table(rope, planned))

    def run(self) -> None:
        """Launches it."""
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

    def _head(self, head: Linear, x: Emitted) -> None:
        self._multiplied("head", [head], x, into=self.logits[None, None])
        if self.traits.logit_scale != 1:
            self.logits.mul_(self.traits.logit_scale)
        cap = self.traits.logit_softcap
        if cap is not None:
            self.logits.div_(cap).tanh_().mul_(cap)
        scratch = self._buffer("best", (launch.TOP_PROGRAMS,))
        launch.most_probable(self.logits, self.never, scratch, self.token, self.position)

    def _table(self, rope: Rope, planned: int) -> Tensor:
        """Cosines and sines of all positions of the cache, (2, positions, n_rot / 2)."""
        return torch.stack(rotation(rope, range(self.stored.shape[3]), planned, self.stored))

    def _buffer(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Memory under a name; the same for every layer, since the layers run one after the other."""
        key = (name, *shape)
        if key not in self._buffers:
            self._buffers[key] = torch.empty(shape, device=self.device)
        found = self._buffers[key]
        assert isinstance(found, Tensor)
        return found

    def _emitted(self, name: str, m: int, columns: int, readers: list[Linear]) -> Emitted:
        packed = any(isinstance(linear.weight, PackedOnGpu) for linear in readers)
        key = (name, m, columns, packed)
        if key not in self._buffers:
            self._buffers[key] = Emitted.empty(m, columns, self.device, fast=self.fast, packed=packed)
        found = self._buffers[key]
        assert isinstance(found, Emitted)
        return found

    def _norm(
        self,
        norm: Norm | None,
        parts: Tensor | None,
        shares: Tensor | None,
        post: Norm | None,
        readers: list[Linear],
    ) -> Emitted:
        """Adds the last block's output to the hidden state, and gives its norm."""
        out = self._emitted("normed", 1, self.traits.hidden_size, readers)
        rows = None if parts is None else parts[:, None]
        launch.add_and_norm(
            self.hidden, self._after, rows, shares, post, norm, out, self.traits.residual_scale
        )
        if parts is not None:
            self.hidden, self._after = self._after, self.hidden
        return out

    def _multiplied(
        self,
        name: str,
        linears: list[Linear],
        x: Emitted,
        *,
        splits: int | None = None,
        into: Tensor | None = None,
    ) -> Tensor:
        """Products of one x beside one another, in the buffer of a name or in another: (1, splits, Σ rows)."""
        found = runs(linears)
        if into is None:
            if splits is None:
                splits = min(_splits(run, x.fast) for run in found)
            width = sum(linear.weight.rows for linear in linears)
            into = self._buffer(name, (1, splits, width))
        at = 0
        for run in found:
            rows = sum(linear.weight.rows for linear in run)
            self._launch(run, x, into[:, :, at : at + rows])
            at += rows
        return into

    def _launch(self, run: list[Linear], x: Emitted, y: Tensor) -> None:
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

    def _attention(self, index: int, weights: Attention, x: Emitted) -> Tensor:
        """The output product's parts, (splits, hidden)."""
        traits, rope = self.traits, self.traits.ropes[index]
        rows = self._multiplied("qkv", qkv(weights), x)[0]
        keys, values = self.stored[index]
        width = traits.heads * traits.head_dim
        out = self._emitted("attended", 1, width, [weights.output])
        padded = launch.padded(traits.head_dim)
        launch.attend(
            rows,
            keys,
            values,
            self.position,
            out,
            sums=self._buffer("sums", (traits.heads, self.splits, padded)),
            tops=self._buffer("tops", (traits.heads, self.splits, 2)),
            traits=traits,
            angles=None if rope is None else self.angles[rope],
            rope=rope,
            q_norm=weights.q_norm,
            k_norm=weights.k_norm,
            window=traits.windows[index],
        )
        return self._multiplied("output", [weights.output], out)[0]

    def _feed_forward(
        self, ffn: FeedForward | Mixture, x: Emitted, attended: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Its output's parts, after those of the attention where the block adds both at once; and their shares."""
        if isinstance(ffn, Mixture):
            return self._mixture(ffn, x, attended)
        inner = self._inner(ffn, x)
        before = 0 if attended is None else len(attended)
        splits = _splits([ffn.down], inner.fast)
        parts = self._buffer("parts", (1, before + splits, self.traits.hidden_size))
        if attended is not None:
            parts[0, :before].copy_(attended)
        self._multiplied("down", [ffn.down], inner, into=parts[0, before:][None])
        return parts[0], None

    def _inner(self, ffn: FeedForward, x: Emitted) -> Emitted:
        rows = ffn.up.weight.rows
        out = self._emitted("inner", 1, rows, [ffn.down])
        if ffn.gate is None:
            launch.gated(self._multiplied("up", [ffn.up], x), None, out, ffn.activation)
        else:
            both = self._multiplied("gate_up", [ffn.gate, ffn.up], x)
            launch.gated(both[..., :rows], both[..., rows:], out, ffn.activation)
        return out

    def _mixture(self, mixture: Mixture, x: Emitted, attended: Tensor | None) -> tuple[Tensor, Tensor]:
        used, hidden = mixture.routing.used, self.traits.hidden_size
        scores = self._multiplied("router", [mixture.router], x, splits=1)[:, 0]
        weights, chosen = choose_experts(scores, mixture.routing)
        before = 0 if attended is None else len(attended)
        after = 0 if mixture.shared is None else 1
        parts = self._buffer("parts", (before + used + after, hidden))
        shares = self._buffer("shares", (before + used + after,))
        shares.fill_(1.0)
        shares[before : before + used].copy_(weights[0])
        if attended is not None:
            parts[:before].copy_(attended)
        expert = mixture.experts[0]
        assert expert.gate is not None
        gate, up, down = (linear.weight for linear in (expert.gate, expert.up, expert.down))
        assert isinstance(gate, PackedOnGpu)
        assert isinstance(up, PackedOnGpu)
        assert isinstance(down, PackedOnGpu)
        second = mixture.experts[1].up.weight
        assert isinstance(second, PackedOnGpu)
        inner = self._emitted("routed", used, up.rows, [expert.down])
        ids = chosen[0].contiguous()
        both = self._buffer("routed_gate_up", (2, used, 1, up.rows))
        for matrix, y in ((gate, both[0]), (up, both[1])):
            cut = launch.blocking(up.rows, matrix.held.planes, fast=x.fast).with_splits(1)
            launch.packed_linear(
                matrix.held.planes,
                x,
                y,
                start=matrix.start,
                rows=up.rows,
                expert=ids,
                per_expert=second.start - up.start,
                cut=cut,
            )
        launch.gated(both[0], both[1], inner, expert.activation)
        cut = launch.blocking(hidden, down.held.planes, fast=inner.fast).with_splits(1)
        routed = parts[before : before + used].view(used, 1, hidden)
        launch.packed_linear(
            down.held.planes,
            inner,
            routed,
            start=down.start,
            rows=hidden,
            expert=ids,
            per_expert=hidden,
            cut=cut,
        )
        if mixture.shared is not None:
            if mixture.shared_gate is not None:
                gate_value = self._multiplied("shared_gate", [mixture.shared_gate], x, splits=1)[0, 0]
                shares[-1:].copy_(torch.sigmoid(gate_value))
            shared = self._inner(mixture.shared, x)
            self._multiplied("shared", [mixture.shared.down], shared, into=parts[-1:][None])
        return parts, shares


def _inputs(layer: Layer) -> list[Linear]:
    """What reads a layer's first norm: in a parallel block its feed-forward network too."""
    attention, ffn = plain(layer)
    return [*qkv(attention), *ffn.linears()]


def _splits(run: list[Linear], fast: bool) -> int:
    weight = run[0].weight
    if not isinstance(weight, PackedOnGpu):
        return 1
    rows = sum(linear.weight.rows for linear in run)
    return launch.blocking(rows, weight.held.planes, fast=fast).splits
