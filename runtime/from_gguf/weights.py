"""The weights of a GGUF file as the decoder takes them: in their blocks, in ggml's order of rows, read on first use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from llorch.formats.gguf import Header, TensorData
from llorch.formats.quants import decode
from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.linear import Linear, Numbers, Packed
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.decoder import Attention, Layer, Weights
from llorch.runtime.from_gguf.families import ArchitectureFacts
from llorch.runtime.traits import Traits


def build_weights(
    header: Header, data: TensorData, family: ArchitectureFacts, traits: Traits, numbers: Numbers
) -> Weights:
    """All weights; the layout has been checked, so that every name asked for is there with its shape."""
    source = _Source(header, data, family, traits, numbers)
    embedding = source.matrix("token_embd.weight")
    head = source.matrix("output.weight") if source.has("output.weight") else embedding
    return Weights(
        embedding=embedding,
        layers=[source.layer(index) for index in range(traits.n_layers)],
        final_norm=source.required_norm("output_norm"),
        head=Linear(head, source.vector("output.bias")),
    )


class _Source:
    def __init__(
        self, header: Header, data: TensorData, family: ArchitectureFacts, traits: Traits, numbers: Numbers
    ) -> None:
        self.header, self.data, self.family, self.traits, self.numbers = header, data, family, traits, numbers

    def has(self, name: str) -> bool:
        return name in self.header.tensors

    def matrix(self, name: str) -> Packed:
        """Rows of the last dimension; the experts of a stacked tensor one after the other."""
        tensor = self.header.tensors[name]
        rows = tensor.weights // tensor.shape[-1]

        def read() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
            raw = self.data.read(tensor)
            self.data.require_unchanged()
            return raw

        return Packed(rows, tensor.shape[-1], self.numbers, tensor.type, read, self.scales(name))

    def scales(self, weight: str) -> Tensor | None:
        """What a weight is multiplied by, one number or one an expert; None where the file has none."""
        tensor = self.header.tensors.get(f"{weight.removesuffix('.weight')}.scale")
        if tensor is None:
            return None
        return torch.from_numpy(decode(tensor.type, self.data.read(tensor))).clone()

    def vector(self, name: str, stored_offset: float = 0.0) -> Tensor | None:
        """A bias or a norm's weight, small enough to be read at once; None where the file has none."""
        if not self.has(name):
            return None
        tensor = self.header.tensors[name]
        values = torch.from_numpy(decode(tensor.type, self.data.read(tensor))).reshape(tensor.shape)
        while values.dim() > 1 and len(values) == 1:
            values = values[0]
        if self.numbers.rounded is not None:
            # rounding is for the model's own weight, which the file holds with an offset added
            values = (values - stored_offset).to(self.numbers.rounded).float() + stored_offset
        return values.to(self.numbers.device, self.numbers.dtype).clone()

    def norm(self, stem: str) -> Norm | None:
        weight = self.vector(f"{stem}.weight", self.family.norm_stored_offset)
        if weight is None:
            return None
        return Norm(self.traits.norm, self.traits.norm_eps, weight, self.vector(f"{stem}.bias"))

    def required_norm(self, stem: str) -> Norm:
        norm = self.norm(stem)
        assert norm is not None
        return norm

    def linear(self, stem: str) -> Linear:
        return Linear(self.matrix(f"{stem}.weight"), self.vector(f"{stem}.bias"))

    def layer(self, index: int) -> Layer:
        prefix = f"blk.{index}."
        return Layer(
            attention=self.attention(prefix),
            ffn=self.mixture(prefix) if self.traits.routing is not None else self.feed_forward(prefix),
            attention_norm=self.norm(f"{prefix}attn_norm"),
            attention_post_norm=self.norm(f"{prefix}post_attention_norm"),
            ffn_norm=self.norm(f"{prefix}ffn_norm"),
            ffn_post_norm=self.norm(f"{prefix}post_ffw_norm"),
        )

    def attention(self, prefix: str) -> Attention:
        if self.has(f"{prefix}attn_qkv.weight"):
            q, k, v = self.fused(prefix)
        else:
            q, k, v = (self.linear(f"{prefix}attn_{which}") for which in "qkv")
        return Attention(
            q,
            k,
            v,
            self.linear(f"{prefix}attn_output"),
            self.norm(f"{prefix}attn_q_norm"),
            self.norm(f"{prefix}attn_k_norm"),
        )

    def fused(self, prefix: str) -> Sequence[Linear]:
        """The rows of q, then k, then v; old files have their biases apart."""
        whole = self.matrix(f"{prefix}attn_qkv.weight")
        bias = self.vector(f"{prefix}attn_qkv.bias")
        q, k = (heads * self.traits.head_dim for heads in (self.traits.heads, self.traits.kv_heads))
        spans = {"q": (0, q), "k": (q, q + k), "v": (q + k, q + 2 * k)}
        return [
            Linear(
                whole.part(start, stop),
                self.vector(f"{prefix}attn_{which}.bias") if bias is None else bias[start:stop],
            )
            for which, (start, stop) in spans.items()
        ]

    def feed_forward(self, prefix: str, suffix: str = "") -> FeedForward:
        up, down = self.linear(f"{prefix}ffn_up{suffix}"), self.linear(f"{prefix}ffn_down{suffix}")
        gate = (
            self.linear(f"{prefix}ffn_gate{suffix}") if self.has(f"{prefix}ffn_gate{suffix}.weight") else None
        )
        if self.family.fused_gate:
            half = up.weight.rows // 2
            gate, up = Linear(up.weight.part(0, half)), Linear(up.weight.part(half, 2 * half))
        return FeedForward(self.traits.activation, gate, up, down)

    def mixture(self, prefix: str) -> Mixture:
        routing = self.traits.routing
        assert routing is not None
        if self.has(f"{prefix}ffn_down_exps.weight"):
            experts = self.stacked_experts(prefix, routing.experts)
        else:
            experts = [self.feed_forward(prefix, f".{e}") for e in range(routing.experts)]
        shared = self.has(f"{prefix}ffn_gate_inp_shexp.weight")
        return Mixture(
            routing,
            router=self.linear(f"{prefix}ffn_gate_inp"),
            experts=experts,
            shared=self.feed_forward(prefix, "_shexp") if shared else None,
            shared_gate=self.linear(f"{prefix}ffn_gate_inp_shexp") if shared else None,
        )

    def stacked_experts(self, prefix: str, count: int) -> list[FeedForward]:
        """Experts as consecutive rows of stacked tensors; each one's gate may stand before its up in one of them."""
        down = self.matrix(f"{prefix}ffn_down_exps.weight")
        width, hidden = down.columns, down.rows // count
        if self.has(f"{prefix}ffn_gate_up_exps.weight"):
            gates = ups = self.matrix(f"{prefix}ffn_gate_up_exps.weight")
            step, behind = 2 * width, width
        else:
            gates, ups = (self.matrix(f"{prefix}ffn_{which}_exps.weight") for which in ("gate", "up"))
            step, behind = width, 0
        return [
            FeedForward(
                self.traits.activation,
                Linear(gates.part(e * step, e * step + width)),
                Linear(ups.part(e * step + behind, e * step + behind + width)),
                Linear(down.part(e * hidden, (e + 1) * hidden)),
            )
            for e in range(count)
        ]
