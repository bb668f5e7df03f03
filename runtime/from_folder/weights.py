"""The weights of a folder as the decoder takes them: transformers' names and order of rows, read on first use."""

from __future__ import annotations

import torch
from torch import Tensor

from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.linear import Floating, Linear, Numbers
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.decoder import Attention, Layer, Weights
from llorch.runtime.from_folder import Read
from llorch.runtime.from_folder.layout import spelled
from llorch.runtime.from_folder.shards import OpenShards


def build_weights(read: Read, shards: OpenShards, numbers: Numbers) -> Weights:
    """All weights; the layout has been checked, so that every name asked for is there with its shape."""
    source = _Source(read, shards, numbers)
    embedding = source.matrix("model.embed_tokens.weight")
    head = source.matrix("lm_head.weight") if "lm_head.weight" in read.stored.tensors else embedding
    return Weights(
        embedding=embedding,
        layers=[source.layer(f"model.layers.{index}.") for index in range(read.sizes.layers)],
        final_norm=source.norm_of([read.family.final_norm], biased=read.family.norm_bias),
        head=Linear(head, source.vector("lm_head.bias") if "head" in read.structure.biased else None),
    )


class _Source:
    def __init__(self, read: Read, shards: OpenShards, numbers: Numbers) -> None:
        self.stored, self.shards, self.numbers = read.stored.tensors, shards, numbers
        self.family, self.sizes, self.structure = read.family, read.sizes, read.structure
        self.traits = read.traits

    def matrix(self, name: str) -> Floating:
        rows, columns = self.stored[name].shape
        return Floating(rows, columns, self.numbers, self.shards.reader(name))

    def vector(self, name: str) -> Tensor:
        return self.shards.whole(name).to(self.numbers.device, self.numbers.dtype).clone()

    def linear(self, layer: str, role: str, expert: int = 0) -> Linear:
        name = layer + self.structure.roles[role].format(e=expert)
        bias = self.vector(f"{name}.bias") if role in self.structure.biased else None
        return Linear(self.matrix(f"{name}.weight"), bias)

    def norm_of(self, names: list[str], *, biased: bool) -> Norm:
        weights = [self.vector(f"{name}.weight") for name in names]
        weight = (weights[0] if len(weights) == 1 else torch.stack(weights)) + self.family.norm_offset
        bias = self.vector(f"{names[0]}.bias") if biased else None
        return Norm(self.family.norm, self.traits.norm_eps, weight, bias)

    def norm(self, layer: str, role: str) -> Norm | None:
        name = self.structure.roles.get(role)
        if name is None:
            return None
        of_head = role in ("q_norm", "k_norm")
        names = [layer + one for one in spelled(name, role, self.sizes)]
        return self.norm_of(names, biased=self.family.norm_bias and not of_head)

    def layer(self, layer: str) -> Layer:
        return Layer(
            attention=self.attention(layer),
            ffn=self.mixture(layer) if self.traits.routing is not None else self.feed_forward(layer),
            attention_norm=self.norm(layer, "attention_norm"),
            attention_post_norm=self.norm(layer, "attention_post_norm"),
            ffn_norm=self.norm(layer, "ffn_norm"),
            ffn_post_norm=self.norm(layer, "ffn_post_norm"),
        )

    def attention(self, layer: str) -> Attention:
        if "qkv" in self.structure.roles:
            heads = (self.traits.heads, self.traits.kv_heads, self.traits.kv_heads)
            q, k, v = self.split(layer, "qkv", [n * self.traits.head_dim for n in heads])
        else:
            q, k, v = (self.linear(layer, role) for role in "qkv")
        norms = (self.norm(layer, "q_norm"), self.norm(layer, "k_norm"))
        return Attention(q, k, v, self.linear(layer, "output"), *norms)

    def split(self, layer: str, role: str, rows: list[int]) -> list[Linear]:
        """A fused layer's rows, in their order."""
        whole, start, parts = self.linear(layer, role).weight, 0, []
        for count in rows:
            parts.append(Linear(whole.part(start, start + count)))
            start += count
        return parts

    def feed_forward(self, layer: str, prefix: str = "", expert: int = 0) -> FeedForward:
        down = self.linear(layer, f"{prefix}down", expert)
        if "gate_up" in self.structure.roles:
            gate, up = self.split(layer, "gate_up", [self.sizes.width] * 2)
            return FeedForward(self.traits.activation, gate, up, down)
        gated = f"{prefix}gate" in self.structure.roles
        return FeedForward(
            self.traits.activation,
            self.linear(layer, f"{prefix}gate", expert) if gated else None,
            self.linear(layer, f"{prefix}up", expert),
            down,
        )

    def mixture(self, layer: str) -> Mixture:
        routing = self.traits.routing
        assert routing is not None
        shared = "shared_router" in self.structure.roles
        return Mixture(
            routing,
            router=self.linear(layer, "router"),
            experts=[self.feed_forward(layer, "expert_", e) for e in range(routing.experts)],
            shared=self.feed_forward(layer, "shared_") if shared else None,
            shared_gate=self.linear(layer, "shared_router") if shared else None,
        )
