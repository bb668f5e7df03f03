"""One token through all layers as one program of kernels, without returning to Python in between.

It computes what `llorch.runtime.decoder` computes, in the model's numeric mode, for the models whose every part it knows:
a part, or a field of one, that it does not know makes `decode_step` None, and the decoder goes on as for many tokens.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llorch.runtime.blocks.cache import Cache
from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.linear import Linear, Numbers
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.decoder import Attention, Layer, Weights
from llorch.runtime.kernels.cpu.arguments import float_bits
from llorch.runtime.kernels.cpu.multiply import Product
from llorch.runtime.kernels.cpu.pool import pool
from llorch.runtime.kernels.cpu.recorder import Floats, Operand, Recorder
from llorch.runtime.kernels.cpu.small_steps import LANES, TOKEN
from llorch.runtime.traits import Rope, Routing, Traits

# The fields that a step heeds, of what it is made from.
KNOWN: Mapping[type, frozenset[str]] = {
    Traits: frozenset(
        "vocabulary_size hidden_size n_ctx heads kv_heads head_dim norm norm_eps activation windows ropes "
        "attention_scale norm_offset head_norm parallel routing embedding_scale residual_scale logit_scale "
        "attention_softcap logit_softcap".split()
    ),
    Rope: frozenset("n_rot pairs frequencies scale long_frequencies original_context".split()),
    Routing: frozenset("experts used renormalised".split()),
    Weights: frozenset("embedding layers final_norm head".split()),
    Layer: frozenset("attention ffn attention_norm attention_post_norm ffn_norm ffn_post_norm".split()),
    Attention: frozenset("q k v output q_norm k_norm".split()),
    FeedForward: frozenset("activation gate up down".split()),
    Mixture: frozenset("routing router experts shared shared_gate".split()),
    Linear: frozenset("weight bias".split()),
    Norm: frozenset("kind eps weight bias".split()),
}


class Unknown(Exception):
    """Something that the step has no kernel for."""


def decode_step(traits: Traits, weights: Weights, numbers: Numbers) -> DecodeStep | None:
    """The step of a model; None where the decoder has to do it."""
    if not numbers.has_kernels or numbers.rounded is not None:
        return None
    try:
        return DecodeStep(traits, weights, numbers)
    except Unknown:
        return None


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


class DecodeStep:
    """Programs and memory for one token of one request at a time; safe for many threads, which wait for each other."""

    def __init__(self, traits: Traits, weights: Weights, numbers: Numbers) -> None:
        require_known(traits)
        require_known(weights)
        _require(traits.head_dim % LANES == 0 and traits.hidden_size % 32 == 0)
        self._traits, self._embedding = traits, weights.embedding
        self._lock = threading.Lock()
        self._pool = pool(torch.get_num_threads())
        layers = _Layers(traits, Recorder(numbers.mode, self._pool.threads))
        for index, layer in enumerate(weights.layers):
            layers.record(index, layer)
        self._result = layers.finish(weights.final_norm)
        self._layers = layers
        self._program = layers.recorder.program()

    def hidden(self, token: int, cache: Cache) -> Tensor:
        """The last hidden state after the final norm, (1, hidden_size), of a token that follows what the cache holds."""
        with self._lock:
            layers, hidden_size = self._layers, self._traits.hidden_size
            row = self._embedding.rows_at(torch.tensor([token]))[0]
            layers.x.values[:hidden_size] = (row * self._traits.embedding_scale).numpy()
            layers.at(cache)
            self._pool.run(self._program)
            cache.advance(1)
            return torch.from_numpy(self._result.values[:hidden_size].copy())[None]


class _Layers:
    """The memory between steps, and what a layer is as steps."""

    def __init__(self, traits: Traits, recorder: Recorder) -> None:
        self.traits, self.recorder = traits, recorder
        self.x = recorder.floats(traits.hidden_size)
        self._added = recorder.floats(traits.hidden_size)
        self._zeros = recorder.floats(traits.hidden_size)
        width = traits.heads * traits.head_dim
        self._q, self._mixed = recorder.floats(width), recorder.floats(width)
        self._k, self._v = (recorder.floats(traits.kv_heads * traits.head_dim) for _ in range(2))
        self._token = np.zeros(len(TOKEN.names), np.int64)
        self._scores = np.zeros(0, np.float32)
        self._angles: dict[Rope, tuple[Floats, Floats]] = {}
        for rope in {rope for rope in traits.ropes if rope is not None}:
            require_known(rope)
            self._angles[rope] = recorder.floats(rope.n_rot // 2), recorder.floats(rope.n_rot // 2)
        self._scale = recorder.constant([traits.residual_scale])

    def at(self, cache: Cache) -> None:
        """What depends on the request and its position."""
        stored, traits = cache.storage, self.traits
        room = traits.heads * (cache.planned + 2 * LANES)
        if len(self._scores) < room:
            self._scores = np.zeros(room, np.float32)
        position = cache.length
        values = {"cache": stored.data_ptr(), "planned": cache.planned, "position": position}
        self._token[:] = TOKEN.filled(values | {"scores": self._scores.ctypes.data})
        for rope, (cosine, sine) in self._angles.items():
            angles = position * np.array(rope.planned_for(cache.planned))
            cosine.values[: len(angles)] = np.cos(angles) * rope.scale
            sine.values[: len(angles)] = np.sin(angles) * rope.scale

    def record(self, index: int, layer: Layer) -> None:
        """Steps from one layer's input, in x, to the next one's, in x again."""
        require_known(layer)
        normed = self._normed(layer.attention_norm, self.x)
        self._attention(index, layer.attention, normed)
        if self.traits.parallel:
            _require(layer.attention_post_norm is None and layer.ffn_post_norm is None)
            target = self.recorder.floats(self.traits.hidden_size)
            self._output(layer.attention.output, self._mixed, None, self.x, target)
            self._feed(layer.ffn, normed, None, target, self.x)
        else:
            self._output(layer.attention.output, self._mixed, layer.attention_post_norm, self.x, self.x)
            normed = self._normed(layer.ffn_norm, self.x)
            self._feed(layer.ffn, normed, layer.ffn_post_norm, self.x, self.x)

    def finish(self, norm: Norm) -> Floats:
        """The final norm; where its result stands."""
        return self._normed(norm, self.x).floats

    def _normed(self, norm: Norm | None, source: Floats) -> Operand:
        if norm is None:
            return Operand(source, source.count)
        target = self.recorder.floats(source.count)
        self._norm(norm, source, target, 1, source.count)
        return Operand(target, source.count)

    def _norm(self, norm: Norm, source: Floats, target: Floats, rows: int, width: int) -> None:
        require_known(norm)
        _require(width % LANES == 0 and (norm.bias is None or norm.bias.dim() == 1))
        weight = norm.weight.float().contiguous().numpy()
        slots = {"weight": self.recorder.constant(weight.reshape(-1)), "eps": float_bits(norm.eps)}
        if weight.ndim == 2:
            slots["weight_bytes"] = 4 * width
        if norm.bias is not None:
            slots["bias"] = self.recorder.constant(norm.bias.float().numpy())
        self.recorder.norm(norm.kind, source, target, rows, width, **slots)

    def _attention(self, index: int, weights: Attention, normed: Operand) -> None:
        require_known(weights)
        traits, rope = self.traits, self.traits.ropes[index]
        self._multiply(normed, [(weights.q, self._q), (weights.k, self._k), (weights.v, self._v)])
        for norm, rows, heads in (
            (weights.q_norm, self._q, traits.heads),
            (weights.k_norm, self._k, traits.kv_heads),
        ):
            if norm is not None and traits.head_norm == "head":
                self._norm(norm, rows, rows, heads, traits.head_dim)
            elif norm is not None:
                _require(traits.head_norm == "row" and norm.weight.dim() == 1)
                self._norm(norm, rows, rows, 1, heads * traits.head_dim)
        slots = {
            "q": self._q.address, "k": self._k.address, "v": self._v.address, "token": self._token.ctypes.data,
            "layer": index, "heads": traits.heads, "kv_heads": traits.kv_heads, "head_dim": traits.head_dim,
        }  # fmt: skip
        if rope is not None:
            cosine, sine = self._angles[rope]
            slots |= {"cosine": cosine.address, "sine": sine.address, "n_rot": rope.n_rot}
        self.recorder.rotate(
            "halves" if rope is None else rope.pairs, traits.heads + 2 * traits.kv_heads, slots
        )
        slots = {
            "q": self._q.address, "target": self._mixed.address, "token": self._token.ctypes.data, "layer": index,
            "kv_heads": traits.kv_heads, "group": traits.heads // traits.kv_heads,
            "window": traits.windows[index] or 0, "scale": float_bits(traits.attention_scale),
        }  # fmt: skip
        self.recorder.attend(traits.head_dim, traits.heads, traits.attention_softcap, slots)

    def _multiply(self, operand: Operand, calls: Sequence[tuple[Linear, Floats]]) -> None:
        products = [_product(linear) for linear, _ in calls]
        self.recorder.ready(operand, products)
        slots = [operand.slots(self._planes(product)) for product in products]
        self.recorder.products(
            [
                (product, slot | {"y": target.address})
                for product, slot, (_, target) in zip(products, slots, calls, strict=True)
            ]
        )

    def _planes(self, product: Product) -> int:
        return self.recorder.planes(product)

    def _output(
        self, linear: Linear, source: Floats, norm: Norm | None, residual: Floats, target: Floats
    ) -> None:
        """target = residual + scale · norm(W source)."""
        operand, product = Operand(source, source.count), _product(linear)
        self.recorder.ready(operand, [product])
        slots = operand.slots(self._planes(product))
        if norm is None:
            added = {"residual": residual.address, "factor": self._scale, "y": target.address}
            self.recorder.products([(product, slots | added)])
        else:
            self.recorder.products([(product, slots | {"y": self._added.address})])
            self._norm(norm, self._added, self._added, 1, self._added.count)
            self.recorder.add(self._added, target, self.traits.residual_scale)

    def _feed(
        self, ffn: FeedForward | Mixture, normed: Operand, norm: Norm | None, residual: Floats, target: Floats
    ) -> None:
        require_known(ffn)
        if isinstance(ffn, FeedForward):
            self._output(ffn.down, self._active(ffn, normed), norm, residual, target)
            return
        _require(residual is target)
        self._mixture(ffn, normed)
        if norm is not None:
            self._norm(norm, self._added, self._added, 1, self._added.count)
        self.recorder.add(self._added, target, self.traits.residual_scale)

    def _active(self, ffn: FeedForward, normed: Operand) -> Floats:
        """act(gate x) · up x, or act(up x)."""
        require_known(ffn)
        width = ffn.up.weight.rows
        up = self.recorder.floats(width)
        if ffn.gate is None:
            self._multiply(normed, [(ffn.up, up)])
            self.recorder.gate(ffn.activation, up, None, up, width)
            return up
        gate = self.recorder.floats(width)
        self._multiply(normed, [(ffn.gate, gate), (ffn.up, up)])
        self.recorder.gate(ffn.activation, gate, up, gate, width)
        return gate

    def _mixture(self, ffn: Mixture, normed: Operand) -> None:
        """What the chosen experts add up to, and the shared one; only what they need of the weights is read."""
        require_known(ffn.routing)
        recorder, used = self.recorder, ffn.routing.used
        scores, chosen = recorder.floats(ffn.routing.experts), recorder.floats(2 * used)
        weights = recorder.floats(used)
        self._multiply(normed, [(ffn.router, scores)])
        recorder.route(
            {
                "scores": scores.address, "experts": ffn.routing.experts, "chosen": chosen.address,
                "weights": weights.address, "used": used, "renormalised": int(ffn.routing.renormalised),
            }
        )  # fmt: skip
        gates, ups, downs = (
            _stack([getattr(e, part) for e in ffn.experts]) for part in ("gate", "up", "down")
        )
        width = ups[0].blocks.rows
        gate, up = recorder.floats(used * width), recorder.floats(used * width)
        _require(width % 32 == 0)
        recorder.ready(normed, [gates[0], ups[0]])
        recorder.products(
            [
                (
                    stack[0],
                    normed.slots(self._planes(stack[0]))
                    | {"y": target.address + 4 * width * slot, "expert": chosen.address + 8 * slot, "expert_bytes": stack[1]},
                )
                for slot in range(used)
                for stack, target in ((gates, gate), (ups, up))
            ]
        )  # fmt: skip
        recorder.gate(ffn.experts[0].activation, gate, up, gate, used * width)
        active = Operand(gate, width, used)
        recorder.ready(active, [downs[0]])
        for slot in range(used):
            added = {
                "y": self._added.address, "residual": (self._added if slot else self._zeros).address,
                "factor": weights.address + 4 * slot, "expert": chosen.address + 8 * slot, "expert_bytes": downs[1],
            }  # fmt: skip
            recorder.products([(downs[0], active.slots(self._planes(downs[0]), slot) | added)])
        self._shared(ffn, normed)

    def _shared(self, ffn: Mixture, normed: Operand) -> None:
        """Adds the expert that all tokens share."""
        if ffn.shared is None:
            return
        factor = self.recorder.constant([1.0])
        if ffn.shared_gate is not None:
            gate = self.recorder.floats(LANES)
            self._multiply(normed, [(ffn.shared_gate, gate)])
            self.recorder.gate("sigmoid", gate, None, gate, LANES)
            factor = gate.address
        active = self._active(ffn.shared, normed)
        operand, product = Operand(active, active.count), _product(ffn.shared.down)
        self.recorder.ready(operand, [product])
        added = {"y": self._added.address, "residual": self._added.address, "factor": factor}
        self.recorder.products([(product, operand.slots(self._planes(product)) | added)])


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
