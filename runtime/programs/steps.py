"""Shared building blocks for recording a layer as kernel steps: buffers, norms, products, sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from llorch.runtime.blocks.cache import Cache
from llorch.runtime.blocks.linear import Linear, Rows
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.kernels.cpu.arguments import float_bits
from llorch.runtime.kernels.cpu.multiply import Product
from llorch.runtime.kernels.cpu.recorder import Floats, Recorder
from llorch.runtime.kernels.cpu.steps.small_steps import ACTIVATIONS, LANES, TOKEN
from llorch.runtime.programs.known import Unknown, product_of, require, require_known
from llorch.runtime.traits import Rope, Traits


class Steps:
    """Records kernel steps one after the other, for a fixed number of tokens.

    x: hidden states, a layer's input and its output. added: a sublayer's output before it is added to x.
    """

    def __init__(self, traits: Traits, recorder: Recorder) -> None:
        self.traits, self.recorder = traits, recorder
        self.x = recorder.floats("x", traits.hidden_size)
        self.added = recorder.floats("added", traits.hidden_size)
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

    def set_tokens(self, caches: Sequence[Cache], positions: Sequence[int], threads: int) -> None:
        """Set the inputs of a run: for each token, its request's cache and its position there."""
        planned = np.array([cache.planned for cache in caches])
        capacity = int(planned.max()) + 2 * LANES
        if len(self._scores) < threads * capacity:
            self._scores = np.zeros(threads * capacity, np.float32)
        columns: dict[str, ArrayLike] = {
            "cache": [cache.addresses.ctypes.data for cache in caches], "planned": planned, "position": positions,
            "scores": self._scores.ctypes.data, "capacity": capacity,
        }  # fmt: skip
        for name, values in columns.items():
            self._tokens[:, TOKEN.slot(name)] = np.asarray(values)
        lengths, which = np.unique(planned, return_inverse=True)
        for rope, (cosine, sine) in self._angles.items():
            frequencies = np.array([rope.planned_for(length) for length in lengths.tolist()])[which]
            angles = (np.array(positions)[:, None] * frequencies).reshape(-1)
            cosine.values[: len(angles)] = np.cos(angles) * rope.scale
            sine.values[: len(angles)] = np.sin(angles) * rope.scale

    def tokens(self, layer: int) -> dict[str, int]:
        """The arguments by which a kernel finds a layer's cache for each token."""
        return {"tokens": self._tokens.ctypes.data, "layer": layer, "count": self.recorder.rows}

    def angles(self, rope: Rope) -> tuple[Floats, Floats]:
        """Cosines and sines for the tokens' positions."""
        return self._angles[rope]

    def normed(self, norm: Norm | None, source: Floats, name: str) -> Floats:
        """Record a norm into the buffer `name` and return that; without a norm, return the source."""
        if norm is None:
            return source
        target = self.recorder.floats(name, source.width)
        self.norm(norm, source, target, source.width)
        return target

    def norm(self, norm: Norm, source: Floats, target: Floats, width: int) -> None:
        """Record a norm over each consecutive `width` values."""
        require_known(norm)
        require(width % LANES == 0 and (norm.bias is None or norm.bias.dim() == 1))
        if norm.weight is None:
            raise Unknown(norm)
        weight = norm.weight.float().contiguous().numpy()
        slots = {"weight": self.recorder.constant(weight.reshape(-1)), "eps": float_bits(norm.eps)}
        if weight.ndim == 2:
            slots["period"] = len(weight)
        if norm.bias is not None:
            slots["bias"] = self.recorder.constant(norm.bias.float().numpy())
        self.recorder.norm(norm.kind, source, target, width, **slots)

    def multiply(self, operand: Floats, calls: Sequence[tuple[Linear, Floats]]) -> None:
        """Record products of one operand, each into its own buffer; a matrix in parts is multiplied part by part."""
        found = []
        for linear, target in calls:
            weight, first = linear.weight, 0
            pieces = weight.parts if isinstance(weight, Rows) and linear.bias is None else [weight]
            for piece in pieces:
                slots = {"y": target.address + 4 * first, "y_bytes": 4 * target.width}
                found.append((product_of(replace(linear, weight=piece)), slots))
                first += piece.rows
        self.recorder.multiply(operand, found)

    def multiply_parts(self, operand: Floats, calls: Sequence[tuple[Product, Floats]]) -> None:
        """See `multiply`, for products that are already resolved."""
        self.recorder.multiply(operand, [(product, {"y": target.address}) for product, target in calls])

    def output(
        self, linear: Linear, source: Floats, norm: Norm | None, residual: Floats, target: Floats
    ) -> None:
        """Record target = residual + scale · norm(W source)."""
        if norm is None:
            slots = {"residual": residual.address, "factor": self._scale, "y": target.address}
            self.recorder.multiply(source, [(product_of(linear), slots)])
        else:
            self.multiply(source, [(linear, self.added)])
            self.add(norm, target)

    def add(self, norm: Norm | None, target: Floats) -> None:
        """Record target += scale · norm(added)."""
        if norm is not None:
            self.norm(norm, self.added, self.added, self.added.width)
        self.recorder.add(self.added, target, self.traits.residual_scale)

    def gate(self, activation: str, gate: Floats, up: Floats | None) -> None:
        """Record gate = act(gate) · up, or act(gate) without up."""
        require(activation in ACTIVATIONS)
        self.recorder.gate(activation, gate, up)
