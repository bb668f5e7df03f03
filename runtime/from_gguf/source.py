"""Access to the tensors of a GGUF file by name: as matrices, vectors, feed-forward networks and mixtures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llorch.formats.gguf import Header, TensorData
from llorch.formats.gguf import Tensor as StoredTensor
from llorch.formats.quants import decode
from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.linear import Linear, Matrix, Numbers, PackedMatrix
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.from_gguf.facts import CHOICE_BIASES, ArchitectureFacts
from llorch.runtime.from_gguf.layout import role
from llorch.runtime.traits import Traits

if TYPE_CHECKING:
    from llorch.runtime.gpu.transfer import Uploader


class Source:
    """The weights of one file by name, for one device."""

    def __init__(
        self, header: Header, data: TensorData, family: ArchitectureFacts, traits: Traits, numbers: Numbers
    ) -> None:
        self.header, self.data, self.family, self.traits, self.numbers = header, data, family, traits, numbers
        self.uploader: Uploader | None = None
        if numbers.on_gpu:
            from llorch.runtime.gpu.transfer import Uploader  # Triton: only a GPU needs it

            self.uploader = Uploader(numbers.device)

    def has(self, name: str) -> bool:
        """Whether the file has this tensor."""
        return name in self.header.tensors

    def matrix(self, name: str) -> Matrix:
        """A tensor as a matrix with rows along its last dimension, a stacked tensor expert after expert."""
        tensor = self.header.tensors[name]
        rows = tensor.weights // tensor.shape[-1]

        scales = self.scales(name)
        if self.uploader is not None:
            return self._on_gpu(self.uploader, tensor, scales)

        def read() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
            raw = self.data.read(tensor)
            self.data.require_unchanged()
            return raw

        return PackedMatrix(rows, tensor.shape[-1], self.numbers, tensor.type, read, scales)

    def _on_gpu(self, uploader: Uploader, tensor: StoredTensor, scales: Tensor | None) -> Matrix:
        from llorch.runtime.gpu.matrix import LazyMatrix  # Triton: only a GPU needs it
        from llorch.runtime.gpu.transfer import packed_matrix

        rows, columns = tensor.weights // tensor.shape[-1], tensor.shape[-1]

        def read_into(start: int, buffer: NDArray[np.uint8]) -> None:
            self.data.read_into(tensor, start, buffer)

        def read() -> Matrix:
            return packed_matrix(uploader, self.numbers, tensor.type, rows, columns, read_into, scales)

        def read_late() -> Matrix:
            matrix = read()
            self.data.require_unchanged()
            return matrix

        return LazyMatrix(rows, columns, self.numbers, read_late) if self.numbers.lazy else read()

    def scales(self, weight: str) -> Tensor | None:
        """The `.scale` of a weight, one number or one per expert; None if the file has none.

        A `.scale` that the family lists as part of its mixture belongs to the model, not to the weight.
        """
        if weight.rpartition(".")[0].rpartition(".")[2] + ".scale" in self.family.mixture:
            return None
        tensor = self.header.tensors.get(f"{weight.removesuffix('.weight')}.scale")
        if tensor is None:
            return None
        return torch.from_numpy(decode(tensor.type, self.data.read(tensor))).clone()

    def vector(self, name: str, stored_offset: float = 0.0, *, exact: bool = False) -> Tensor | None:
        """A bias or a norm's weight, read at once; None if the file has none.

        exact: never rounded, because a folder keeps it in float32 whatever the type of its other weights.
        """
        if not self.has(name):
            return None
        values = self.values(self.header.tensors[name], stored_offset, exact=exact)
        while values.dim() > 1 and len(values) == 1:
            values = values[0]
        return values.to(self.numbers.device, self.numbers.dtype).clone()

    def values(self, tensor: StoredTensor, stored_offset: float = 0.0, *, exact: bool = False) -> Tensor:
        """A small tensor in its own shape, as float32, rounded as the model's weights are."""
        values = torch.from_numpy(decode(tensor.type, self.data.read(tensor))).reshape(tensor.shape)
        if self.numbers.rounded is None or exact:
            return values
        # round the model's own weight, without the offset that the file has added to it
        return (values - stored_offset).to(self.numbers.rounded).float() + stored_offset

    def required_vector(self, name: str) -> Tensor:
        """A vector that the layout requires."""
        vector = self.vector(name)
        assert vector is not None
        return vector

    def decay(self, name: str) -> Tensor:
        """−exp(A_log), which is what the file holds; if weights are rounded, A_log is."""
        stored = self.values(self.header.tensors[name], exact=True).double().flatten()
        if self.numbers.rounded is not None:
            stored = -(-stored).log().float().to(self.numbers.rounded).double().exp()
        return stored.to(self.numbers.device, self.numbers.dtype)

    def norm(self, stem: str) -> Norm | None:
        """A norm, or None if the file has none."""
        gated = stem.endswith("ssm_norm")  # the norm after the gate, stored without an offset
        name = stem if self.has(stem) else f"{stem}.weight"
        weight = self.vector(name, 0.0 if gated else self.family.norm_stored_offset)
        if weight is None:
            return None
        return Norm(self.traits.norm, self.traits.norm_eps, weight, self.vector(f"{stem}.bias"))

    def bare_norm(self) -> Norm:
        """A norm without a weight."""
        return Norm(self.traits.norm, self.traits.norm_eps, None)

    def required_norm(self, stem: str) -> Norm:
        """A norm that the layout requires."""
        norm = self.norm(stem)
        assert norm is not None
        return norm

    def linear(self, stem: str) -> Linear:
        """A linear layer, with its bias if the file has one."""
        return Linear(self.matrix(f"{stem}.weight"), self.vector(f"{stem}.bias"))

    def feed_forward(self, prefix: str, suffix: str = "") -> FeedForward:
        """The feed-forward network whose tensor names have this suffix."""
        up, down = self.linear(f"{prefix}ffn_up{suffix}"), self.linear(f"{prefix}ffn_down{suffix}")
        gate = (
            self.linear(f"{prefix}ffn_gate{suffix}") if self.has(f"{prefix}ffn_gate{suffix}.weight") else None
        )
        if self.family.fused_gate or (self.family.fused_shared_gate and suffix == "_shexp"):
            half = up.weight.rows // 2
            gate, up = Linear(up.weight.part(0, half)), Linear(up.weight.part(half, 2 * half))
        sub_norm = self.norm(f"{prefix}ffn_sub_norm{suffix}")
        return FeedForward(self.traits.activation, gate, up, down, sub_norm=sub_norm)

    def mixture(self, prefix: str) -> Mixture:
        """The experts, router and shared expert of a layer."""
        routing = self.traits.routing
        assert routing is not None
        if self.has(f"{prefix}ffn_down_exps.weight"):
            experts = self.stacked_experts(prefix, routing.experts)
        else:
            experts = [self.feed_forward(prefix, f".{e}") for e in range(routing.experts)]
        gate = f"{prefix}{role(self.family, 'shared_router')}"
        scale = self.vector(f"{prefix}ffn_gate_inp.scale")
        return Mixture(
            routing,
            router=self.linear(f"{prefix}ffn_gate_inp").exact(),
            experts=experts,
            shared=self.feed_forward(prefix, "_shexp") if self.has(f"{prefix}ffn_up_shexp.weight") else None,
            shared_gate=self.linear(gate) if self.has(f"{gate}.weight") else None,
            choice_bias=self.choice_bias(prefix),
            router_norm=None if scale is None else self.router_norm(scale),
            expert_scale=self.vector(f"{prefix}ffn_down_exps.scale") if scale is not None else None,
        )

    def choice_bias(self, prefix: str) -> Tensor | None:
        """Bias on the scores for the choice of experts, under either of its names."""
        found = (self.vector(f"{prefix}{stem}", exact=True) for stem in CHOICE_BIASES)
        return next((bias for bias in found if bias is not None), None)

    def router_norm(self, scale: Tensor) -> Norm:
        """Gemma 4's router norm: weightless, then `scale`, then 1 / √hidden."""
        return Norm("rms", self.traits.norm_eps, scale * (1 / math.sqrt(self.traits.hidden_size)))

    def stacked_experts(self, prefix: str, count: int) -> list[FeedForward]:
        """Experts from consecutive rows of stacked tensors; gate and up may be fused, the gate's rows first."""
        down = self.matrix(f"{prefix}ffn_down_exps.weight")
        width, hidden = down.columns, down.rows // count
        gates: Matrix | None
        if self.has(f"{prefix}ffn_gate_up_exps.weight"):
            gates = ups = self.matrix(f"{prefix}ffn_gate_up_exps.weight")
            step, behind = 2 * width, width
        else:
            gated = self.has(f"{prefix}ffn_gate_exps.weight")
            gates = self.matrix(f"{prefix}ffn_gate_exps.weight") if gated else None
            ups = self.matrix(f"{prefix}ffn_up_exps.weight")
            step, behind = width, 0
        biases = {
            which: self.matrix_values(f"{prefix}ffn_{which}_exps.bias") for which in ("gate", "up", "down")
        }
        return [
            FeedForward(
                self.traits.activation,
                None if gates is None else Linear(gates.part(e * step, e * step + width), biases["gate"][e]),
                Linear(ups.part(e * step + behind, e * step + behind + width), biases["up"][e]),
                Linear(down.part(e * hidden, (e + 1) * hidden), biases["down"][e]),
            )
            for e in range(count)
        ]

    def matrix_values(self, name: str) -> Sequence[Tensor | None]:
        """The biases of all experts, as the rows of a small matrix; all None if the file has none."""
        if not self.has(name):
            return _AllNone()
        values = self.values(self.header.tensors[name])
        return list(values.to(self.numbers.device, self.numbers.dtype))


class _AllNone(Sequence[None]):
    """None at every index."""

    def __getitem__(self, _: object) -> None:  # type: ignore[override]
        return None

    def __len__(self) -> int:
        return 0
