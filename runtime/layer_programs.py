"""Tokens through all layers as one program of kernels, without returning to Python in between.

It computes what `llorch.runtime.decoder` computes, in the model's numeric mode, for the models whose every part it
knows: a part, or a field of one, that it does not know is `Unknown`, and the decoder computes instead.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from llorch.runtime.blocks.cache import Cache
from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.linear import Linear, Numbers
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.kernels.cpu.arguments import float_bits
from llorch.runtime.kernels.cpu.multiply import Product
from llorch.runtime.kernels.cpu.pool import available, pool
from llorch.runtime.kernels.cpu.recorder import Floats, Recorder
from llorch.runtime.kernels.cpu.small_steps import LANES, TOKEN
from llorch.runtime.traits import Rope, Routing, Traits
from llorch.runtime.weights import Attention, Layer, Weights

# The fields that a step heeds, of what it is made from.
KNOWN: Mapping[type, frozenset[str]] = {
    Traits: frozenset(
        [
            "vocabulary_size",
            "hidden_size",
            "n_ctx",
            "heads",
            "kv_heads",
            "head_dim",
            "norm",
            "norm_eps",
            "activation",
            "windows",
            "ropes",
            "attention_scale",
            "norm_offset",
            "pairs",
            "head_norm",
            "parallel",
            "routing",
            "embedding_scale",
            "residual_scale",
            "logit_scale",
            "attention_softcap",
            "logit_softcap",
        ]
    ),
    Rope: frozenset(["n_rot", "pairs", "frequencies", "scale", "long_frequencies", "original_context"]),
    Routing: frozenset(
        ["experts", "used", "renormalised", "scores", "scale", "groups", "groups_used", "group_worth"]
    ),
    Weights: frozenset(["embedding", "layers", "final_norm", "head"]),
    Layer: frozenset(
        ["attention", "ffn", "attention_norm", "attention_post_norm", "ffn_norm", "ffn_post_norm"]
    ),
    Attention: frozenset(["q", "k", "v", "output", "q_norm", "k_norm"]),
    FeedForward: frozenset(["activation", "gate", "up", "down"]),
    Mixture: frozenset(["routing", "router", "experts", "shared", "shared_gate"]),
    Linear: frozenset(["weight", "bias"]),
    Norm: frozenset(["kind", "eps", "weight", "bias"]),
}

# Programs of up to so many tokens are kept once they are recorded: of the tokens that requests decode together, whose
# number changes from step to step. Their memory is a few hundred kilobytes.
FEW = 16


class Unknown(Exception):
    """Something that there are no steps for."""


def require_known(part: Any) -> None:
    """Unknown where a part is of another class, or has a field beyond the known ones that says something."""
    known = KNOWN.get(type(part))
    if known is None:
        raise Unknown(type(part))
    for field in fields(part):
        if field.name not in known:
            default = field.default_factory() if field.default_factory is not MISSING else field.default
            if getattr(part, field.name) != default:
                raise Unknown(field.name)


class LayerPrograms:
    """Programs for some numbers of tokens, and their memory; safe for many threads, which wait for each other.

    Unknown where a model, or so many tokens of it, cannot be computed so.
    """

    def __init__(self, traits: Traits, weights: Weights, numbers: Numbers) -> None:
        _require(numbers.has_kernels and numbers.rounded is None)
        require_known(traits)
        require_known(weights)
        _require(traits.is_plain)
        _require(traits.head_dim % LANES == 0 and traits.hidden_size % 32 == 0)
        self._traits, self._weights, self._mode = traits, weights, numbers.mode
        self._lock = threading.Lock()
        self._recorded: dict[tuple[int, bool], _Layers] = {}
        self._several = True  # whether more than one token can be computed so

    def hidden(self, tokens: Tensor, cache: Cache) -> Tensor:
        """The last hidden states after the final norm, (tokens, hidden_size), of tokens that follow the cache's.

        Before anything is computed, Unknown where the program cannot be made.
        """
        places = range(cache.length, cache.length + len(tokens))
        hidden = self._computed(tokens, [cache] * len(tokens), places)
        cache.advance(len(tokens))
        return hidden

    def hidden_together(self, tokens: Tensor, caches: Sequence[Cache]) -> Tensor:
        """The same of several requests, each with one token that follows its own cache's."""
        hidden = self._computed(tokens, caches, [cache.length for cache in caches], together=True)
        for cache in caches:
            cache.advance(1)
        return hidden

    def _computed(
        self, tokens: Tensor, caches: Sequence[Cache], places: Sequence[int], *, together: bool = False
    ) -> Tensor:
        """caches, places: of each token, its request's cache and its position there."""
        with self._lock:
            count, hidden_size = len(tokens), self._traits.hidden_size
            layers, threads = self._layers(count, together), pool(torch.get_num_threads())
            rows = self._weights.embedding.rows_at(tokens) * self._traits.embedding_scale
            layers.x.values[: count * hidden_size] = rows.numpy().reshape(-1)
            layers.at(caches, places, threads.threads)
            threads.run(layers.program)
            result = layers.result.values[: count * hidden_size].reshape(count, hidden_size)
            return torch.from_numpy(result.copy())

    def _layers(self, count: int, together: bool) -> _Layers:
        """The program for so many tokens: those of few are kept, and the last of many."""
        found = self._recorded.get((count, together))
        if found is None:
            _require(count == 1 or self._several)
            recorder = Recorder(self._mode, available(), count, together=together)
            try:
                found = _Layers(self._traits, self._weights, recorder)
            except Unknown:
                self._several = False
                raise
            few = {kept: old for kept, old in self._recorded.items() if kept[0] <= FEW}
            self._recorded = few | {(count, together): found}
        return found


class _Layers:
    """The memory between steps, and what a layer is as steps."""

    def __init__(self, traits: Traits, weights: Weights, recorder: Recorder) -> None:
        self.traits, self.recorder = traits, recorder
        self.x = recorder.floats("x", traits.hidden_size)
        self._added = recorder.floats("added", traits.hidden_size)
        self._q, self._mixed = (
            recorder.floats(name, traits.heads * traits.head_dim) for name in ("q", "mixed")
        )
        self._k, self._v = (recorder.floats(name, traits.kv_heads * traits.head_dim) for name in ("k", "v"))
        self._tokens = np.zeros((recorder.rows, len(TOKEN.names)), np.int64)
        self._scores = np.zeros(0, np.float32)
        self._angles: dict[Rope, tuple[Floats, Floats]] = {}
        for number, rope in enumerate({rope for rope in traits.ropes if rope is not None}):
            require_known(rope)
            cosine, sine = (
                recorder.floats(f"{name}{number}", rope.n_rot // 2) for name in ("cosine", "sine")
            )
            self._angles[rope] = cosine, sine
        self._scale = recorder.constant([traits.residual_scale])
        for index, layer in enumerate(weights.layers):
            self._record(index, layer)
        self.result = self._normed(weights.final_norm, self.x, "normed")
        self.program = recorder.program()

    def at(self, caches: Sequence[Cache], places: Sequence[int], threads: int) -> None:
        """What depends on the requests and their positions; of each token, its cache and its place there."""
        planned = np.array([cache.planned for cache in caches])
        room = int(planned.max()) + 2 * LANES
        if len(self._scores) < threads * room:
            self._scores = np.zeros(threads * room, np.float32)
        columns: dict[str, ArrayLike] = {
            "cache": [cache.storage.data_ptr() for cache in caches], "planned": planned, "position": places,
            "scores": self._scores.ctypes.data, "room": room,
        }  # fmt: skip
        for name, values in columns.items():
            self._tokens[:, TOKEN.slot(name)] = np.asarray(values)
        lengths, which = np.unique(planned, return_inverse=True)
        for rope, (cosine, sine) in self._angles.items():
            frequencies = np.array([rope.planned_for(length) for length in lengths.tolist()])[which]
            angles = (np.array(places)[:, None] * frequencies).reshape(-1)
            cosine.values[: len(angles)] = np.cos(angles) * rope.scale
            sine.values[: len(angles)] = np.sin(angles) * rope.scale

    def _record(self, index: int, layer: Layer) -> None:
        """Steps from one layer's input, in x, to the next one's, in x again."""
        require_known(layer)
        attention, ffn = layer.attention, layer.ffn
        if not isinstance(attention, Attention) or not isinstance(ffn, FeedForward | Mixture):
            raise Unknown(type(attention), type(ffn))
        normed = self._normed(layer.attention_norm, self.x, "normed")
        self._attention(index, attention, normed)
        if self.traits.parallel:
            _require(layer.attention_post_norm is None and layer.ffn_post_norm is None)
            sum = self.recorder.floats("sum", self.traits.hidden_size)
            self._output(attention.output, self._mixed, None, self.x, sum)
            self._feed(ffn, normed, None, sum, self.x)
        else:
            self._output(attention.output, self._mixed, layer.attention_post_norm, self.x, self.x)
            normed = self._normed(layer.ffn_norm, self.x, "normed")
            self._feed(ffn, normed, layer.ffn_post_norm, self.x, self.x)

    def _normed(self, norm: Norm | None, source: Floats, name: str) -> Floats:
        if norm is None:
            return source
        target = self.recorder.floats(name, source.width)
        self._norm(norm, source, target, source.width)
        return target

    def _norm(self, norm: Norm, source: Floats, target: Floats, width: int) -> None:
        require_known(norm)
        _require(width % LANES == 0 and (norm.bias is None or norm.bias.dim() == 1))
        if norm.weight is None:
            raise Unknown(norm)
        weight = norm.weight.float().contiguous().numpy()
        slots = {"weight": self.recorder.constant(weight.reshape(-1)), "eps": float_bits(norm.eps)}
        if weight.ndim == 2:
            slots["period"] = len(weight)
        if norm.bias is not None:
            slots["bias"] = self.recorder.constant(norm.bias.float().numpy())
        self.recorder.norm(norm.kind, source, target, width, **slots)

    def _attention(self, index: int, weights: Attention, normed: Floats) -> None:
        require_known(weights)
        traits, rope = self.traits, self.traits.ropes[index]
        if weights.k is None or weights.v is None:
            raise Unknown(weights)
        self._multiply(normed, [(weights.q, self._q), (weights.k, self._k), (weights.v, self._v)])
        for norm, rows in ((weights.q_norm, self._q), (weights.k_norm, self._k)):
            if norm is not None and traits.head_norm == "head":
                self._norm(norm, rows, rows, traits.head_dim)
            elif norm is not None:
                _require(traits.head_norm == "row" and norm.weight is not None and norm.weight.dim() == 1)
                self._norm(norm, rows, rows, rows.width)
        slots = {
            "q": self._q.address, "k": self._k.address, "v": self._v.address, "tokens": self._tokens.ctypes.data,
            "layer": index, "heads": traits.heads, "kv_heads": traits.kv_heads, "head_dim": traits.head_dim,
        }  # fmt: skip
        if rope is not None:
            cosine, sine = self._angles[rope]
            slots |= {"cosine": cosine.address, "sine": sine.address, "n_rot": rope.n_rot}
        self.recorder.rotate(
            "halves" if rope is None else rope.pairs, traits.heads + 2 * traits.kv_heads, slots
        )
        slots = {
            "q": self._q.address, "target": self._mixed.address, "tokens": self._tokens.ctypes.data, "layer": index,
            "kv_heads": traits.kv_heads, "group": traits.heads // traits.kv_heads,
            "window": traits.windows[index] or 0, "scale": float_bits(traits.attention_scale),
        }  # fmt: skip
        self.recorder.attend(traits.head_dim, traits.heads, traits.attention_softcap, slots)

    def _multiply(self, operand: Floats, calls: Sequence[tuple[Linear, Floats]]) -> None:
        self.recorder.multiply(
            operand, [(_product(linear), {"y": target.address}) for linear, target in calls]
        )

    def _output(
        self, linear: Linear, source: Floats, norm: Norm | None, residual: Floats, target: Floats
    ) -> None:
        """target = residual + scale · norm(W source)."""
        if norm is None:
            slots = {"residual": residual.address, "factor": self._scale, "y": target.address}
            self.recorder.multiply(source, [(_product(linear), slots)])
        else:
            self._multiply(source, [(linear, self._added)])
            self._add(norm, target)

    def _add(self, norm: Norm | None, target: Floats) -> None:
        """target += scale · norm(added)."""
        if norm is not None:
            self._norm(norm, self._added, self._added, self._added.width)
        self.recorder.add(self._added, target, self.traits.residual_scale)

    def _feed(
        self, ffn: FeedForward | Mixture, normed: Floats, norm: Norm | None, residual: Floats, target: Floats
    ) -> None:
        require_known(ffn)
        if isinstance(ffn, FeedForward):
            self._output(ffn.down, self._active(ffn, normed), norm, residual, target)
            return
        _require(residual is target and self.recorder.rows == 1)
        self._mixture(ffn, normed)
        self._add(norm, target)

    def _active(self, ffn: FeedForward, normed: Floats) -> Floats:
        """act(gate x) · up x, or act(up x)."""
        require_known(ffn)
        up = self.recorder.floats("up", ffn.up.weight.rows)
        if ffn.gate is None:
            self._multiply(normed, [(ffn.up, up)])
            self.recorder.gate(ffn.activation, up, None)
            return up
        gate = self.recorder.floats("gate", ffn.up.weight.rows)
        self._multiply(normed, [(ffn.gate, gate), (ffn.up, up)])
        self.recorder.gate(ffn.activation, gate, up)
        return gate

    def _mixture(self, ffn: Mixture, normed: Floats) -> None:
        """What one token's experts add up to, and the shared one; only what they need of the weights is read."""
        require_known(ffn.routing)
        _require((ffn.routing.scores, ffn.routing.scale, ffn.routing.groups) == ("softmax", 1.0, 1))
        recorder, used = self.recorder, ffn.routing.used
        scores, chosen, weights = (
            recorder.floats(name, width)
            for name, width in (("scores", ffn.routing.experts), ("chosen", 2 * used), ("weights", used))
        )
        self._multiply(normed, [(ffn.router, scores)])
        slots = {"scores": scores.address, "chosen": chosen.address, "weights": weights.address, "used": used}
        renormalised = int(ffn.routing.renormalised)
        recorder.route(slots | {"experts": ffn.routing.experts, "renormalised": renormalised})
        gates, ups, downs = (
            _stack([getattr(e, part) for e in ffn.experts]) for part in ("gate", "up", "down")
        )
        width = ups[0].blocks.rows
        _require(width % 32 == 0 and gates[0].blocks.rows == width)
        gate, up = (recorder.floats(f"experts' {name}", used * width) for name in ("gate", "up"))
        calls = []
        for place in range(used):
            for (product, stride), target in ((gates, gate), (ups, up)):
                chosen_one = {"expert": chosen.address + 8 * place, "expert_bytes": stride}
                calls.append((product, chosen_one | {"y": target.address + 4 * width * place}))
        recorder.multiply(normed, calls)
        recorder.gate(ffn.experts[0].activation, gate, up)
        recorder.ready(gate, used, downs[0])
        zeros = recorder.constant([0.0] * self.traits.hidden_size)
        for place in range(used):
            slots = {
                "y": self._added.address, "residual": self._added.address if place else zeros,
                "factor": weights.address + 4 * place, "expert": chosen.address + 8 * place, "expert_bytes": downs[1],
            }  # fmt: skip
            recorder.multiply_row(gate, used, place, downs[0], slots)
        self._shared(ffn, normed)

    def _shared(self, ffn: Mixture, normed: Floats) -> None:
        """Adds the expert that all tokens share."""
        if ffn.shared is None:
            return
        factor = self.recorder.constant([1.0])
        if ffn.shared_gate is not None:
            gate = self.recorder.floats("shared gate", LANES)
            self._multiply(normed, [(ffn.shared_gate, gate)])
            self.recorder.gate("sigmoid", gate, None)
            factor = gate.address
        active = self._active(ffn.shared, normed)
        slots = {"y": self._added.address, "residual": self._added.address, "factor": factor}
        self.recorder.multiply(active, [(_product(ffn.shared.down), slots)])


def _require(holds: bool) -> None:
    if not holds:
        raise Unknown


def _product(linear: Linear) -> Product:
    require_known(linear)
    product = linear.product()
    if product is None:
        raise Unknown
    return product


def _stack(linears: Sequence[Linear | None]) -> tuple[Product, int]:
    """The first of experts' matrices, and how many bytes lie from one to the next."""
    products = [_product(linear) for linear in linears if linear is not None]
    _require(len(products) == len(linears) > 1 and all(product.bias is None for product in products))
    first = products[0].blocks
    begins = [product.blocks.raw.ctypes.data for product in products]
    stride = begins[1] - begins[0]
    _require(stride > 0 and all(begin == begins[0] + place * stride for place, begin in enumerate(begins)))
    _require(
        all(product.blocks.type is first.type and product.blocks.rows == first.rows for product in products)
    )
    return products[0], stride
