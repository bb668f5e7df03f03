"""The one decoder: every architecture that the readers know is a value of its traits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llorch.runtime.blocks.attention import attend
from llorch.runtime.blocks.cache import Cache
from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.linear import FileMatrix, Linear, multiplied
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.blocks.rope import in_halves, rotate, rotation
from llorch.runtime.errors import ContextFull
from llorch.runtime.traits import Rope, Traits

Observe = Callable[[int | None, str, Tensor], Tensor | None]
"""Told (layer or None, step, value) after each step; a tensor that it returns is used in the value's place.

Outside the layers the steps are `embedding`, `final_norm` and `logits`; in a layer `input`, `attention_norm`, `q`,
`k`, `v`, `attention` (before its output product), `attention_output`, `ffn_norm`, `ffn_output` and `output`. Values are
(positions, width); q, k and v (heads, positions, head_dim), q and k rotated and their channels in the order of
`halves`, so that two readings compare; what is returned for q or k is not used.
"""


@dataclass(frozen=True, slots=True)
class Attention:
    """The products around attention; norms of queries and keys where the model has them."""

    q: Linear
    k: Linear
    v: Linear
    output: Linear
    q_norm: Norm | None = None
    k_norm: Norm | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """A block's weights; a norm that the architecture does not have is None."""

    attention: Attention
    ffn: FeedForward | Mixture
    attention_norm: Norm | None = None
    attention_post_norm: Norm | None = None
    ffn_norm: Norm | None = None
    ffn_post_norm: Norm | None = None

    def linears(self) -> Iterator[Linear]:
        """All its products."""
        yield from (self.attention.q, self.attention.k, self.attention.v, self.attention.output)
        yield from self.ffn.linears()

    def release(self) -> None:
        """Drops what was read or widened of its matrices; they are read again when they are used again."""
        for linear in self.linears():
            linear.weight.release()


@dataclass(frozen=True, slots=True)
class Weights:
    """All of a model's weights."""

    embedding: FileMatrix
    layers: Sequence[Layer]
    final_norm: Norm
    head: Linear

    def materialize(self) -> None:
        """Widens all matrices that stay widened.

        Made one by one as they are used, they would lie between activations, whose memory the allocator could then
        not give back: a tenth of a model's, measured.
        """
        for layer in self.layers:
            for linear in layer.linears():
                linear.weight.materialize()
        self.head.weight.materialize()


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one request among those of a step, and its cache."""

    cache: Cache
    rows: slice

    @property
    def places(self) -> range:
        """The positions of its rows."""
        return range(self.cache.length, self.cache.length + self.rows.stop - self.rows.start)


@dataclass(frozen=True, slots=True)
class Step:
    """What all layers of one call share: whose rows they are, their angles, and who is told."""

    parts: Sequence[_Part]
    angles: Mapping[Rope, tuple[Tensor, Tensor]]
    observe: Observe | None

    def observed(self, value: Tensor, layer: int | None, step: str) -> Tensor:
        """The value, or what the observer puts in its place."""
        replaced = None if self.observe is None else self.observe(layer, step, value)
        return value if replaced is None else replaced

    def of_request(self, cache: Cache, observe: Observe | None) -> Step:
        """The same rows and angles with another cache, all of them of one request, and another observer."""
        rows = slice(self.parts[0].rows.start, self.parts[-1].rows.stop)
        return Step([_Part(cache, rows)], self.angles, observe)


class Decoder:
    """Token ids in, logits out; holds no state between calls but the weights."""

    def __init__(self, traits: Traits, weights: Weights) -> None:
        self.traits = traits
        self.weights = weights
        self._settled = False

    def hidden(self, ids: Tensor, cache: Cache, observe: Observe | None = None) -> Tensor:
        """The new positions' last hidden states after the final norm, (new, hidden_size).

        ids: (new,) int64, the tokens that follow what the cache holds; they are added to it. ContextFull, before
        any work, where the cache was not planned for so many.
        """
        return self._hidden(ids, [_Part(cache, slice(0, len(ids)))], observe)

    def hidden_together(self, ids: Tensor, caches: Sequence[Cache]) -> Tensor:
        """The last hidden states of several requests, each with one new token, (requests, hidden_size).

        ids: (requests,) int64. The products are computed for all rows at once, which may change their rounding.
        """
        return self._hidden(ids, [_Part(cache, slice(i, i + 1)) for i, cache in enumerate(caches)], None)

    def _hidden(self, ids: Tensor, parts: Sequence[_Part], observe: Observe | None) -> Tensor:
        for part in parts:
            if part.places.stop > part.cache.planned:
                raise ContextFull(part.places.stop, part.cache.planned, "the next step", "its cache")
        if not self._settled:
            self.weights.materialize()
            self._settled = True
        x = self._embedded(ids)
        step = Step(parts, {rope: _angles(rope, parts, x) for rope in self._ropes()}, observe)
        x = step.observed(x, None, "embedding")
        for index in range(len(self.weights.layers)):
            x = self.block(x, index, step)
        for part in parts:
            part.cache.advance(len(part.places))
        return self.end(x, step)

    def begin(
        self,
        ids: Tensor,
        cache: Cache,
        observe: Observe | None = None,
        *,
        places: Sequence[int] | None = None,
        planned: int | None = None,
    ) -> tuple[Tensor, Step]:
        """The embeddings of a request's new positions, and what `block` needs to take them through a layer.

        places: positions that the tokens are rotated by, by default those after what the cache holds. planned: what
        rotary embeddings choose their list by, by default what the cache was planned for.
        """
        x = self._embedded(ids)
        part = _Part(cache, slice(0, len(ids)))
        where = part.places if places is None else places
        angles = {rope: rotation(rope, where, planned or cache.planned, x) for rope in self._ropes()}
        step = Step([part], angles, observe)
        return step.observed(x, None, "embedding"), step

    def block(self, x: Tensor, index: int, step: Step) -> Tensor:
        """One layer over the new positions, (new, hidden_size); its keys and values go to the step's caches."""
        x = step.observed(x, index, "input")
        return step.observed(self._block(x, index, self.weights.layers[index], step), index, "output")

    def end(self, x: Tensor, step: Step) -> Tensor:
        """The final norm over what the last layer gave."""
        return step.observed(self.weights.final_norm(x), None, "final_norm")

    def _embedded(self, ids: Tensor) -> Tensor:
        return self.weights.embedding.rows_at(ids) * self.traits.embedding_scale

    def _ropes(self) -> set[Rope]:
        return {rope for rope in self.traits.ropes if rope is not None}

    def logits(self, hidden: Tensor, observe: Observe | None = None) -> Tensor:
        """(new, hidden_size) → (new, vocabulary_size)."""
        y = self.weights.head(hidden) * self.traits.logit_scale
        cap = self.traits.logit_softcap
        y = y if cap is None else (y / cap).tanh() * cap
        replaced = None if observe is None else observe(None, "logits", y)
        return y if replaced is None else replaced

    def _block(self, x: Tensor, index: int, layer: Layer, step: Step) -> Tensor:
        scale = self.traits.residual_scale
        normed = step.observed(_normed(layer.attention_norm, x), index, "attention_norm")
        attended = self._attention(normed, index, layer.attention, step)
        attended = (
            step.observed(_normed(layer.attention_post_norm, attended), index, "attention_output") * scale
        )
        if not self.traits.parallel:
            x = x + attended
            normed = step.observed(_normed(layer.ffn_norm, x), index, "ffn_norm")
        fed = step.observed(_normed(layer.ffn_post_norm, layer.ffn(normed)), index, "ffn_output") * scale
        return x + attended + fed if self.traits.parallel else x + fed

    def _attention(self, x: Tensor, index: int, weights: Attention, step: Step) -> Tensor:
        traits, rope = self.traits, self.traits.ropes[index]
        q, k, v = multiplied(x, weights.q, weights.k, weights.v)
        q = self._heads(q, weights.q_norm, traits.heads)
        k = self._heads(k, weights.k_norm, traits.kv_heads)
        v = step.observed(self._heads(v, None, traits.kv_heads), index, "v")
        if rope is not None:
            q, k = rotate(q, rope, *step.angles[rope]), rotate(k, rope, *step.angles[rope])
        if step.observe is not None:
            step.observe(index, "q", q if rope is None else in_halves(q, rope))
            step.observe(index, "k", k if rope is None else in_halves(k, rope))
        mixed = [
            attend(
                q[:, part.rows],
                *part.cache.extended(index, k[:, part.rows], v[:, part.rows]),
                scale=traits.attention_scale,
                window=traits.windows[index],
                softcap=traits.attention_softcap,
            )
            for part in step.parts
        ]
        rows = torch.cat(mixed, dim=1).transpose(0, 1).reshape(len(x), -1)
        return weights.output(step.observed(rows, index, "attention"))

    def _heads(self, rows: Tensor, norm: Norm | None, heads: int) -> Tensor:
        """(positions, heads · head_dim) → (heads, positions, head_dim), normed where the model norms."""
        if self.traits.head_norm == "row":
            rows = _normed(norm, rows)
        split = rows.view(len(rows), heads, self.traits.head_dim)
        if self.traits.head_norm == "head":
            split = _normed(norm, split)
        return split.transpose(0, 1).contiguous()


def _angles(rope: Rope, parts: Sequence[_Part], like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of all rows, each by its own position and its own request's length."""
    found = [rotation(rope, part.places, part.cache.planned, like) for part in parts]
    return torch.cat([cosine for cosine, _ in found]), torch.cat([sine for _, sine in found])


def _normed(norm: Norm | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)
