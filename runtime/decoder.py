"""The decoder: one implementation for all architectures, which differ only in their `Traits`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from llorch.runtime.blocks.attention import alibi_slopes, attend, gated, query_scales
from llorch.runtime.blocks.cache import Cache
from llorch.runtime.blocks.experts import ACTIVATIONS, DenseAndMixture, FeedForward
from llorch.runtime.blocks.latent import LatentAttention
from llorch.runtime.blocks.linear import Linear
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.blocks.rope import in_halves, rotate, rotation
from llorch.runtime.blocks.streams import AlternatingUpdates, Bypass
from llorch.runtime.errors import ContextFull
from llorch.runtime.traits import Rope, Traits
from llorch.runtime.weights import (
    Attention,
    AttentionAndSpace,
    Layer,
    LayerEmbedding,
    MixerWeights,
    RecurrentMixer,
    Weights,
)

Observe = Callable[[int | None, str, Tensor], Tensor | None]
"""Called with (layer or None, step, value) after each step; a tensor that it returns replaces the value.

Outside the layers the steps are `embedding`, `final_norm` and `logits`; in a layer `input`, `attention_norm`, `q`,
`k`, `v`, `attention` (before its output projection), `space` (of a state space model beside the attention),
`attention_output`, `ffn_norm`, `ffn_output` and `output`. Values are (positions, width); q, k and v are
(heads, positions, head_dim), q and k after RoPE and with their channels in the order of `halves`, so that two readings
compare. A tensor returned for q or k is ignored.
"""

# Elements up to which torch stays on the calling thread: ATen, Parallel.h, `GRAIN_SIZE`.
ONE_THREAD = 1 << 15


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of a step that belong to one request, and that request's cache."""

    cache: Cache
    rows: slice

    @property
    def positions(self) -> range:
        """Positions of these rows in the request's sequence."""
        return range(self.cache.length, self.cache.length + self.rows.stop - self.rows.start)


@dataclass(frozen=True, slots=True)
class Step:
    """What all layers of one forward pass share: the requests and their rows, the RoPE angles, the observer.

    temperature: (rows, 1), factor on the queries. own: the per-layer token embeddings. slopes: (heads,), ALiBi slopes.
    """

    parts: Sequence[_Part]
    angles: Mapping[Rope, tuple[Tensor, Tensor]]
    observe: Observe | None
    temperature: Tensor | None = None
    own: Tensor | None = None
    slopes: Tensor | None = None

    def report(self, value: Tensor, layer: int | None, step: str) -> Tensor:
        """Pass a value to the observer; return the value or its replacement."""
        replaced = None if self.observe is None else self.observe(layer, step, value)
        return value if replaced is None else replaced

    def to_device(self, device: torch.device) -> Step:
        """The same step with its tensors on `device`."""
        return replace(
            self,
            angles={rope: (a.to(device), b.to(device)) for rope, (a, b) in self.angles.items()},
            temperature=None if self.temperature is None else self.temperature.to(device),
            own=None if self.own is None else self.own.to(device),
        )

    def for_request(self, cache: Cache, observe: Observe | None) -> Step:
        """The same step with all rows in one request, `cache`, and with another observer."""
        rows = slice(self.parts[0].rows.start, self.parts[-1].rows.stop)
        return replace(self, parts=[_Part(cache, rows)], observe=observe)


class Decoder:
    """Token ids in, logits out. Keeps no state between calls but the weights."""

    def __init__(self, traits: Traits, weights: Weights) -> None:
        self.traits = traits
        self.weights = weights
        self._materialized = False

    def hidden(self, ids: Tensor, cache: Cache, observe: Observe | None = None) -> Tensor:
        """Hidden states of the new positions after the final norm, (new, hidden_size).

        ids: (new,) int64, the tokens that follow those in the cache; they are appended to it. Raises ContextFull,
        before any computation, if the cache was planned for fewer positions.
        """
        return self._hidden(ids, [_Part(cache, slice(0, len(ids)))], observe)

    def hidden_together(self, ids: Tensor, caches: Sequence[Cache]) -> Tensor:
        """Hidden states of several requests after the final norm, each given one new token: (requests, hidden_size).

        ids: (requests,) int64. All rows are multiplied as one batch, which may change their rounding.
        """
        return self._hidden(ids, [_Part(cache, slice(i, i + 1)) for i, cache in enumerate(caches)], None)

    def _hidden(self, ids: Tensor, parts: Sequence[_Part], observe: Observe | None) -> Tensor:
        for part in parts:
            if part.positions.stop > part.cache.planned:
                raise ContextFull(part.positions.stop, part.cache.planned, "the next step", "its cache")
        if not self._materialized:
            self.weights.materialize()
            self._materialized = True
        x, step = self._begin(ids, parts, observe)
        for index in range(len(self.weights.layers)):
            x = self.block(x, index, step)
        for part in parts:
            part.cache.advance(len(part.positions))
        return self.end(x, step)

    def begin(
        self,
        ids: Tensor,
        cache: Cache,
        observe: Observe | None = None,
        *,
        positions: Sequence[int] | None = None,
        planned: int | None = None,
    ) -> tuple[Tensor, Step]:
        """Embed a request's new tokens; return the embeddings and the `Step` that `block` needs.

        positions: for RoPE, by default those after the cache's. planned: sequence length by which RoPE chooses between
        its short and long factors, by default what the cache was planned for.
        """
        part = _Part(cache, slice(0, len(ids)))
        x, step = self._begin(ids, [part], observe, positions)
        if positions is not None or planned is not None:
            rope_positions, length = positions or part.positions, planned or cache.planned
            angles = {rope: rotation(rope, rope_positions, length, x) for rope in step.angles}
            step = replace(step, angles=angles)
        return x, step

    def block(self, x: Tensor, index: int, step: Step) -> Tensor:
        """Run one layer over the new positions, (new, hidden_size); keys, values and states go to the step's caches."""
        if self.weights.devices:
            x, step = x.to(self.weights.devices[index]), step.to_device(self.weights.devices[index])
        x = step.report(x, index, "input")
        return step.report(self._block(x, index, self.weights.layers[index], step), index, "output")

    def end(self, x: Tensor, step: Step) -> Tensor:
        """Apply the final norm to the last layer's output."""
        devices = self.weights.devices
        if self.weights.streams is not None:
            x = self.weights.streams.merge(x.to(devices[0]) if devices else x)
        if devices:
            x = x.to(devices[-1])
        return step.report(self.weights.final_norm(x), None, "final_norm")

    def _begin(
        self,
        ids: Tensor,
        parts: Sequence[_Part],
        observe: Observe | None,
        positions: Sequence[int] | None = None,
    ) -> tuple[Tensor, Step]:
        x = self.weights.embedding.rows_at(ids) * self.traits.embedding_scale
        if positions is None:
            positions = [position for part in parts for position in part.positions]
        if self.weights.positions is not None:
            x = x + self.weights.positions.rows_at(torch.tensor(positions, device=ids.device))
        x = _norm(self.weights.embedding_norm, x)
        ropes = {rope for rope in self.traits.ropes if rope is not None}
        own = self.weights.layer_embeddings
        step = Step(
            parts,
            {rope: _angles(rope, parts, x) for rope in ropes},
            observe,
            None if self.traits.temperature is None else query_scales(self.traits.temperature, positions, x),
            None if own is None else own(ids, x, self.traits.n_layers),
            alibi_slopes(self.traits.heads, self.traits.alibi, x) if self.traits.alibi else None,
        )
        x = step.report(x, None, "embedding")
        return x if self.weights.streams is None else self.weights.streams.expand(x), step

    def logits(self, hidden: Tensor, observe: Observe | None = None) -> Tensor:
        """(new, hidden_size) → (new, vocabulary_size)."""
        y = self._scale_logits(self.weights.head(hidden))
        replaced = None if observe is None else observe(None, "logits", y)
        return y if replaced is None else replaced

    def _scale_logits(self, y: Tensor) -> Tensor:
        """Apply the model's logit scale and soft cap, in place."""
        scale, cap = self.traits.logit_scale, self.traits.logit_softcap
        if scale != 1.0 or cap is not None:
            # in pieces for one token: torch's threads would spin afterwards on the cores that the kernels need
            for piece in torch.split(y.view(-1), ONE_THREAD) if len(y) == 1 else [y]:
                piece *= scale
                if cap is not None:
                    piece.div_(cap).tanh_().mul_(cap)
        return y

    def _block(self, x: Tensor, index: int, layer: Layer, step: Step) -> Tensor:
        if layer.updates is not None and layer.bypass is not None:
            return self._update(x, index, layer, layer.updates, layer.bypass, step)
        scale, before = self.traits.residual_scale, x
        normed = step.report(_norm(layer.attention_norm, x), index, "attention_norm")
        attended = torch.zeros_like(x)
        if layer.attention is not None:
            attended = self._mix(normed, index, layer.attention, step)
            attended = _norm(layer.attention_post_norm, attended)
            attended = step.report(attended, index, "attention_output") * scale
        if not self.traits.parallel:
            x = x + attended
            normed = step.report(_norm(layer.ffn_norm, x), index, "ffn_norm")
        elif self.traits.two_norms:
            normed = step.report(_norm(layer.ffn_norm, before), index, "ffn_norm")
        if layer.ffn is not None:
            ffn_output = layer.ffn(normed, x) if isinstance(layer.ffn, DenseAndMixture) else layer.ffn(normed)
            ffn_output = step.report(_norm(layer.ffn_post_norm, ffn_output), index, "ffn_output") * scale
            x = x + attended + ffn_output if self.traits.parallel else x + ffn_output
        if layer.embedding is not None and step.own is not None:
            x = x + self._embed(x, index, layer.embedding, step.own)
        return x if layer.scale is None else x * layer.scale

    def _update(
        self, rows: Tensor, index: int, layer: Layer, updates: AlternatingUpdates, bypass: Bypass, step: Step
    ) -> Tensor:
        """Run one layer of Gemma 3n: compute on the active stream, and update the others by AltUp."""
        states = torch.stack(rows.chunk(updates.shape.count, dim=-1))
        predicted = updates.predict_states(states)
        active = predicted[updates.shape.active]
        normed = step.report(_norm(layer.attention_norm, active), index, "attention_norm")
        assert isinstance(layer.attention, Attention)
        attended = _norm(layer.attention_post_norm, self._attention(normed, index, layer.attention, step))
        attended = step.report(attended, index, "attention_output")
        x = (active + attended + bypass(normed)) / math.sqrt(2)
        normed = step.report(_norm(layer.ffn_norm, x), index, "ffn_norm")
        assert isinstance(layer.ffn, FeedForward)
        x = x + step.report(_norm(layer.ffn_post_norm, layer.ffn(normed)), index, "ffn_output")
        corrected = updates.correct_states(predicted, x)
        if layer.embedding is not None and step.own is not None:
            first = corrected[updates.shape.active] * updates.scale
            corrected[1:] += self._embed(first, index, layer.embedding, step.own)
        return torch.cat(list(corrected), dim=-1)

    def _embed(self, x: Tensor, index: int, layer: LayerEmbedding, own: Tensor) -> Tensor:
        """The contribution of this layer's own token embeddings, (positions, hidden_size)."""
        act = ACTIVATIONS[self.traits.activation]
        return layer.norm(layer.output(act(layer.gate(x)) * own[index]))

    def _mix(self, x: Tensor, index: int, weights: MixerWeights, step: Step) -> Tensor:
        """Apply the layer's mixer, whatever its kind: attention, latent attention or a recurrence."""
        if isinstance(weights, Attention):
            return self._attention(x, index, weights, step)
        if isinstance(weights, AttentionAndSpace):
            attended = self._attention(x, index, weights.attention, step)
            return attended + step.report(_recurrent(x, index, weights.space, step), index, "space")
        if not isinstance(weights, LatentAttention):
            return _recurrent(x, index, weights, step)
        rope, temperature = self.traits.ropes[index], step.temperature
        mixed = [
            weights.attend(
                x[part.rows],
                index,
                part.cache,
                rope=rope,
                angles=None if rope is None else _rows_of(step.angles[rope], part),
                scale=self.traits.attention_scale,
                temperature=None if temperature is None else temperature[part.rows],
            )
            for part in step.parts
        ]
        return weights.output(step.report(torch.cat(mixed), index, "attention"))

    def _all_positions(
        self, index: int, part: _Part, k: Tensor | None, v: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of all positions so far: with the new ones appended, or those that another layer stored."""
        if k is None or v is None:
            keys, values = part.cache.read(self.traits.keys_of(index), len(part.positions))
            if self.weights.devices:
                device = self.weights.devices[index]
                return keys.to(device), values.to(device)
            return keys, values
        return part.cache.extend(index, k[:, part.rows], v[:, part.rows])

    def _attention(self, x: Tensor, index: int, weights: Attention, step: Step) -> Tensor:
        traits, rope = self.traits, self.traits.ropes[index]
        q, gate = self._queries(x, index, weights)
        clamp = traits.qkv_clamp
        q = q if clamp is None else q.clamp(-clamp, clamp)
        k = v = None
        if weights.k is not None:
            k, v = self._keys_and_values(x, index, weights, weights.k)
            if clamp is not None:
                k, v = k.clamp(-clamp, clamp), v.clamp(-clamp, clamp)
            v = step.report(v, index, "v")
            k = k if rope is None else rotate(k, rope, *step.angles[rope])
            k = _norm(weights.k_norm, k) if traits.head_norm_after_rope else k
        q = q if rope is None else rotate(q, rope, *step.angles[rope])
        q = _norm(weights.q_norm, q) if traits.head_norm_after_rope else q
        if step.temperature is not None and self._scales_queries(index):
            q = q * step.temperature
        if step.observe is not None:
            n_rot = q.shape[-1] if rope is None else rope.n_rot
            step.observe(index, "q", in_halves(q, traits.pairs, n_rot))
            if k is not None:
                step.observe(index, "k", in_halves(k, traits.pairs, n_rot))
        mixed = [
            attend(
                q[:, part.rows],
                *self._all_positions(index, part, k, v),
                scale=traits.attention_scale,
                window=traits.windows[index],
                softcap=traits.attention_softcap,
                sinks=weights.sinks,
                chunk=traits.chunks[index] if traits.chunks else None,
                slopes=step.slopes,
                position=part.cache.position,
            )
            for part in step.parts
        ]
        rows = torch.cat(mixed, dim=1).transpose(0, 1).reshape(len(x), -1)
        rows = rows if gate is None else gated(rows, gate, softplus=traits.softplus_gate)
        return weights.output(_norm(weights.sub_norm, step.report(rows, index, "attention")))

    def _scales_queries(self, index: int) -> bool:
        """Whether this layer's queries are scaled by position: all layers', or only those without RoPE."""
        temperature = self.traits.temperature
        return temperature is not None and (
            not temperature.unrotated_only or self.traits.ropes[index] is None
        )

    def _queries(self, x: Tensor, index: int, weights: Attention) -> tuple[Tensor, Tensor | None]:
        """Queries, (heads, positions, head_dim), and the output gate as `gated` takes it, or None."""
        rows = weights.q(x)
        if not self.traits.output_gate or weights.gate is not None:
            gate = None if weights.gate is None else weights.gate(x)
            return self._heads(rows, weights.q_norm, index, "heads"), gate
        shape = self.traits.heads_of(index)
        split = rows.view(len(x), shape.heads, 2, shape.head_dim)
        q = self._heads(split[:, :, 0].reshape(len(x), -1), weights.q_norm, index, "heads")
        return q, split[:, :, 1].reshape(len(x), -1)

    def _keys_and_values(
        self, x: Tensor, index: int, weights: Attention, keys: Linear
    ) -> tuple[Tensor, Tensor]:
        """Keys before RoPE, (kv_heads, positions, head_dim), and values, (kv_heads, positions, value width)."""
        rows = keys(x)
        k = self._heads(rows, weights.k_norm, index, "kv_heads")
        v = rows if weights.v is None else weights.v(x)
        v = v.view(len(v), self.traits.heads_of(index).kv_heads, -1).transpose(0, 1).contiguous()
        v = _norm(weights.value_norm, v)
        return k, v if self.traits.value_scale == 1 else v * self.traits.value_scale

    def _heads(
        self, rows: Tensor, norm: Norm | None, index: int, which: Literal["heads", "kv_heads"]
    ) -> Tensor:
        """(positions, heads · head_dim) → (heads, positions, head_dim), normed if the norm comes before RoPE."""
        shape = self.traits.heads_of(index)
        early = not self.traits.head_norm_after_rope
        if self.traits.head_norm == "row" and early:
            rows = _norm(norm, rows)
        split = rows.view(len(rows), getattr(shape, which), shape.head_dim)
        if self.traits.head_norm == "head" and early:
            split = _norm(norm, split)
        return split.transpose(0, 1).contiguous()


def _recurrent(x: Tensor, index: int, weights: RecurrentMixer, step: Step) -> Tensor:
    """Apply a recurrent mixer, (rows, width); each request's state is advanced."""
    return torch.cat([weights(x[part.rows], part.cache.state(index)) for part in step.parts])


def _angles(rope: Rope, parts: Sequence[_Part], like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine for all rows, each by its position and by its request's planned length."""
    found = [part.cache.rotation(rope, part.positions, like) for part in parts]
    return torch.cat([cosine for cosine, _ in found]), torch.cat([sine for _, sine in found])


def _rows_of(angles: tuple[Tensor, Tensor], part: _Part) -> tuple[Tensor, Tensor]:
    """The rows of cosine and sine that belong to one request."""
    return angles[0][part.rows], angles[1][part.rows]


def _norm(norm: Norm | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)
