"""Access to the tensors of a folder by layer and role: as matrices, vectors, feed-forward networks and mixtures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.linear import Columns, Floating, Linear, Matrix, Numbers
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.from_folder import Read
from llorch.runtime.from_folder.layout import role_names
from llorch.runtime.from_folder.mxfp4 import every_other, mxfp4_rows, rows_from
from llorch.runtime.from_folder.shards import OpenShards

if TYPE_CHECKING:
    from llorch.runtime.gpu.transfer import Uploader


class Source:
    """The weights of one folder, for one device."""

    def __init__(self, read: Read, shards: OpenShards, numbers: Numbers) -> None:
        self.stored, self.shards, self.numbers = read.stored.tensors, shards, numbers
        self.family, self.sizes, self.structure = read.family, read.sizes, read.structure
        self.traits = read.traits
        self.uploader: Uploader | None = None
        if numbers.on_gpu:
            from llorch.runtime.gpu.transfer import Uploader  # Triton: only a GPU needs it

            self.uploader = Uploader(numbers.device)

    def has(self, index: int, role: str) -> bool:
        """Whether a layer has this role."""
        return role in self.structure.layers[index]

    def name(self, index: int, role: str, expert: int = 0) -> str:
        """Full name of a role's tensor without `.weight`."""
        name = self.structure.layers[index][role].removeprefix("=").format(e=expert)
        return f"{self.family.layers}.{index}.{name}"

    def tensor_name(self, index: int, role: str, expert: int = 0) -> str:
        """Full name of a role's tensor."""
        bare = self.structure.layers[index][role].startswith("=")
        return self.name(index, role, expert) + ("" if bare else ".weight")

    def matrix(self, name: str) -> Matrix:
        """A tensor as a matrix with rows along its last dimension, a stacked tensor matrix after matrix."""
        shape = self.stored[name].shape
        if self.uploader is not None:
            from llorch.runtime.gpu.matrix import LazyMatrix  # Triton: only a GPU needs it
            from llorch.runtime.gpu.transfer import float_matrix

            rows, read_into = math.prod(shape[:-1]), self.shards.bytes_of(name)
            read = partial(
                float_matrix, self.uploader, self.numbers, self.stored[name].dtype, rows, shape[-1], read_into
            )
            return LazyMatrix(rows, shape[-1], self.numbers, read) if self.numbers.lazy else read()
        return Floating(math.prod(shape[:-1]), shape[-1], self.numbers, self.shards.reader(name))

    def layer_matrix(self, index: int, role: str) -> Matrix:
        """The matrix of a role in a layer."""
        return self.matrix(self.tensor_name(index, role))

    def vector(self, name: str) -> Tensor:
        """A small tensor, in its own shape."""
        return self.shards.whole(name).to(self.numbers.device, self.numbers.dtype).clone()

    def values(self, index: int, role: str) -> Tensor:
        """The small tensor of a role in a layer."""
        return self.vector(self.tensor_name(index, role))

    def optional(self, index: int, role: str) -> Tensor | None:
        """The small tensor of a role in a layer; None if the layer lacks it."""
        return self.values(index, role) if self.has(index, role) else None

    def decay(self, index: int) -> Tensor:
        """−exp(A_log)."""
        stored = self.shards.whole(self.tensor_name(index, "a_log")).double()
        return (-stored.exp()).to(self.numbers.device, self.numbers.dtype)

    def linear(self, index: int, role: str, expert: int = 0) -> Linear:
        """A linear layer, with its bias and multiplier if it has them."""
        name = self.name(index, role, expert)
        bias = self.vector(f"{name}.bias") if role in self.structure.biased else None
        matrix = self.matrix(self.tensor_name(index, role, expert))
        if role in self.family.transposed:
            matrix = Columns(matrix, 0, 1, matrix.columns)
        return Linear(matrix, bias, self._multiplier(role))

    def _multiplier(self, role: str) -> Tensor | None:
        """Factor on each output of a role's projection; None if all are 1."""
        found = self.structure.multipliers.get(role)
        if found is None:
            return None
        rows, factors = zip(*found, strict=True)
        scale = torch.tensor(factors, dtype=torch.float64).repeat_interleave(torch.tensor(rows))
        return scale.to(self.numbers.device, self.numbers.dtype)

    def build_norm(self, names: list[str], *, biased: bool, offset: float | None = None) -> Norm:
        """A norm from tensors, one row each, plus the class's offset."""
        weights = [self.vector(f"{name}.weight") for name in names]
        weight = weights[0] if len(weights) == 1 else torch.stack(weights)
        weight = weight + (self.family.norm_offset if offset is None else offset)
        bias = self.vector(f"{names[0]}.bias") if biased else None
        return Norm(self.traits.norm, self.traits.norm_eps, weight, bias)

    def norm(self, index: int, role: str) -> Norm | None:
        """A layer's norm; None if it has none."""
        name = self.structure.layers[index].get(role)
        if role in self.family.bare_norms:
            return self.bare_norm()
        if name is None:
            return None
        of_head = role in ("q_norm", "k_norm")
        names = [f"{self.family.layers}.{index}.{one}" for one in role_names(name, role, self.sizes)]
        return self.build_norm(names, biased=self.family.norm_bias and not of_head)

    def bare_norm(self) -> Norm:
        """A norm without a weight."""
        return Norm(self.traits.norm, self.traits.norm_eps, None)

    def required_norm(self, index: int, role: str) -> Norm:
        """A norm that the layout requires."""
        norm = self.norm(index, role)
        assert norm is not None
        return norm

    def split(self, index: int, role: str, rows: list[int]) -> list[Linear]:
        """Split a fused linear layer into parts with these numbers of rows."""
        whole, start, parts = self.linear(index, role), 0, []
        for count in rows:
            bias = None if whole.bias is None else whole.bias[start : start + count]
            parts.append(Linear(whole.weight.part(start, start + count), bias))
            start += count
        return parts

    def feed_forward(self, index: int, prefix: str = "", expert: int = 0) -> FeedForward:
        """The feed-forward network whose roles have this prefix."""
        down = self.linear(index, f"{prefix}down", expert)
        if self.has(index, f"{prefix}gate_up"):
            width = down.weight.columns
            gate, up = self.split(index, f"{prefix}gate_up", [width] * 2)
            return FeedForward(self.traits.activation, gate, up, down)
        gated = self.has(index, f"{prefix}gate")
        return FeedForward(
            self.traits.activation,
            self.linear(index, f"{prefix}gate", expert) if gated else None,
            self.linear(index, f"{prefix}up", expert),
            down,
            sub_norm=None if prefix else self.norm(index, "ffn_sub_norm"),
        )

    def mixture(self, index: int) -> Mixture:
        """The experts, router and shared expert of a layer."""
        routing = self.traits.routing
        assert routing is not None
        scale = self.optional(index, "router_scale")
        return Mixture(
            routing,
            router=self.linear(index, "router").exact(),
            experts=self.experts(index, routing.experts),
            shared=self.feed_forward(index, "shared_") if self.has(index, "shared_down") else None,
            shared_gate=self.linear(index, "shared_router") if self.has(index, "shared_router") else None,
            choice_bias=self.choice_bias(index),
            router_norm=None if scale is None else self.router_norm(scale),
            expert_scale=self.optional(index, "expert_scale"),
        )

    def choice_bias(self, index: int) -> Tensor | None:
        """Bias on the scores for the choice of experts; some classes store it as a matrix of one row."""
        row = self.optional(index, "choice_bias_row")
        return self.optional(index, "choice_bias") if row is None else row[0]

    def router_norm(self, scale: Tensor) -> Norm:
        """Gemma 4's router norm: weightless, then `scale`, then 1 / √hidden."""
        return Norm("rms", self.traits.norm_eps, scale * (1 / math.sqrt(self.traits.hidden_size)))

    def experts(self, index: int, count: int) -> Sequence[FeedForward]:
        """All experts: separate, stacked, stacked with gate and up fused, stacked as (in, out), or in MXFP4."""
        if self.has(index, "experts_gate_up"):
            both, down = self.layer_matrix(index, "experts_gate_up"), self.layer_matrix(index, "experts_down")
            width, hidden = down.columns, both.columns
            return [
                FeedForward(
                    self.traits.activation,
                    Linear(both.part(2 * e * width, (2 * e + 1) * width)),
                    Linear(both.part((2 * e + 1) * width, (2 * e + 2) * width)),
                    Linear(down.part(e * hidden, (e + 1) * hidden)),
                )
                for e in range(count)
            ]
        if self.has(index, "experts_gate"):
            return [self._stacked_expert(index, expert) for expert in range(count)]
        if self.has(index, "experts_in_out_gate_up"):
            return [self._in_out(index, expert) for expert in range(count)]
        if self.has(index, "experts_mxfp4_gate_up"):
            return [self._mxfp4(index, expert) for expert in range(count)]
        return [self.feed_forward(index, "expert_", e) for e in range(count)]

    def _stacked_expert(self, index: int, expert: int) -> FeedForward:
        """An expert from tensors with all experts' rows, gate and up stored as (out, in), down as (in, out)."""
        width, hidden = self.sizes.expert_width, self.sizes.hidden
        gate, up, down = (
            self.layer_matrix(index, role).part(expert * width, (expert + 1) * width)
            for role in ("experts_gate", "experts_up", "experts_in_out")
        )
        return FeedForward(
            self.traits.activation, Linear(gate), Linear(up), Linear(Columns(down, 0, 1, hidden))
        )

    def _in_out(self, index: int, expert: int) -> FeedForward:
        """An expert stored as (in, out); gate and up have alternating columns, or one half each."""
        both, down = (
            self.layer_matrix(index, "experts_in_out_gate_up"),
            self.layer_matrix(index, "experts_in_out_down"),
        )
        width, hidden = both.columns // 2, down.columns
        gate_up: Matrix = both.part(expert * hidden, (expert + 1) * hidden)
        step, second = (2, 1) if self.family.experts_transposed else (1, width)
        biases = self._expert_biases(index, expert)
        return FeedForward(
            self.traits.activation,
            Linear(Columns(gate_up, 0, step, width), biases[0]),
            Linear(Columns(gate_up, second, step, width), biases[1]),
            Linear(Columns(down.part(expert * width, (expert + 1) * width), 0, 1, hidden), biases[2]),
        )

    def _mxfp4(self, index: int, expert: int) -> FeedForward:
        """An expert in MXFP4 blocks, stored as (out, in), with alternating rows of gate and up."""
        hidden, width = self.sizes.hidden, self.sizes.expert_width
        gate_up, down = (
            mxfp4_rows(self.shards, self.tensor_name(index, f"experts_mxfp4_{role}"),
                       self.tensor_name(index, f"experts_mxfp4_{role}_scales"))
            for role in ("gate_up", "down")
        )  # fmt: skip
        gate, up = (every_other(gate_up, 2 * width * expert + first) for first in (0, 1))
        biases = self._expert_biases(index, expert)
        return FeedForward(
            self.traits.activation,
            Linear(Floating(width, hidden, self.numbers, gate), biases[0]),
            Linear(Floating(width, hidden, self.numbers, up), biases[1]),
            Linear(Floating(hidden, width, self.numbers, rows_from(down, hidden * expert)), biases[2]),
        )

    def _expert_biases(self, index: int, expert: int) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Biases of gate, up and down."""
        if not self.has(index, "experts_gate_up_bias"):
            return None, None, None
        joined = self.values(index, "experts_gate_up_bias")[expert]
        # kernels need contiguous biases
        gate, up = joined[0::2].contiguous(), joined[1::2].contiguous()
        return gate, up, self.values(index, "experts_down_bias")[expert]
