"""What the kernel programs support: any part of a model, or field of it, not listed here is left to the decoder."""

from __future__ import annotations

from typing import Any

from llorch.runtime.blocks.delta_net import GatedDeltaNet
from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.latent import HeadMatrices, LatentAttention
from llorch.runtime.blocks.linear import Linear
from llorch.runtime.blocks.mamba import Mamba2Mixer, MambaMixer
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.blocks.short_conv import ShortConvolution
from llorch.runtime.kernels.cpu.multiply import Product
from llorch.runtime.programs.known_traits import KNOWN_TRAITS, Known, unknown_part
from llorch.runtime.weights import Attention, Layer, Weights

# The fields that the steps take into account, by class.
KNOWN: Known = {
    **KNOWN_TRAITS,
    Weights: frozenset(["embedding", "layers", "final_norm", "head"]),
    Layer: frozenset(
        ["attention", "ffn", "attention_norm", "attention_post_norm", "ffn_norm", "ffn_post_norm"]
    ),
    Attention: frozenset(["q", "k", "v", "output", "q_norm", "k_norm"]),
    FeedForward: frozenset(["activation", "gate", "up", "down"]),
    Mixture: frozenset(["routing", "router", "experts", "shared", "shared_gate", "choice_bias"]),
    GatedDeltaNet: frozenset(
        ["shape", "qkv", "gate", "step", "write", "taps", "decay", "step_bias", "key_of", "norm", "output"]
    ),
    Mamba2Mixer: frozenset(
        ["shape", "inward", "taps", "conv_bias", "step_bias", "decay", "skip", "norm", "output"]
    ),
    MambaMixer: frozenset(
        ["shape", "inward", "taps", "conv_bias", "parameters", "step", "decay", "skip", "output"]
    ),
    ShortConvolution: frozenset(["inward", "taps", "outward"]),
    LatentAttention: frozenset(
        ["shape", "q", "down", "norm", "up_keys", "up_values", "output", "q_down", "q_norm"]
    ),
    HeadMatrices: frozenset(["rows", "each", "first", "count", "transposed"]),
    Linear: frozenset(["weight", "bias", "finer"]),
    Norm: frozenset(["kind", "eps", "weight", "bias"]),
}


class Unknown(Exception):
    """A part of the model that the kernel programs do not support."""


def require_known(part: Any) -> None:
    """Raise Unknown if a part's class is not in KNOWN, or an unlisted field differs from its default."""
    unknown = unknown_part(part, KNOWN)
    if unknown is not None:
        raise Unknown(unknown)


def require(holds: bool) -> None:
    """Raise Unknown unless the condition holds."""
    if not holds:
        raise Unknown


def product_of(linear: Linear, start: int = 0, stop: int | None = None) -> Product:
    """The kernel product of a linear layer, or of some of its rows; Unknown if it has none."""
    require_known(linear)
    product = linear.product()
    if product is None:
        raise Unknown
    if not start and stop is None:
        return product
    return product.part(start, product.blocks.rows if stop is None else stop)
