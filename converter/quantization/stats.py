"""A model's quantization as data: the type that the file claims, the types it has, and where.

`error` measures the error against the original weights, `converter.quantization_report` draws both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from llorch.converter.quantization.block_scales import ScaleRange
from llorch.formats.gguf import INTEGERS, Header, Metadata, Tensor

FILE_TYPE = "general.file_type"

# The names that quantizing tools and the files' names use. Source: llama.cpp, include/llama.h, `enum llama_ftype`.
FILE_TYPES: Mapping[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}
GUESSED = 1024  # a flag that llama.cpp sets if it guessed the type

LAYER = re.compile(r"blk\.(\d{1,9})\.")
EMBEDDING, OUTPUT, OTHER = "embedding", "output", "other"


@dataclass(frozen=True, slots=True)
class Claim:
    """`general.file_type`: a number, and the name it stands for, if known."""

    file_type: int
    name: str | None


@dataclass(frozen=True, slots=True)
class QuantShare:
    """The part of the source that has one quant type."""

    tensors: int
    weights: int
    size: int


@dataclass(frozen=True, slots=True)
class LayerShare:
    """The part of the source that is in one layer, or outside the layers: the embedding, the output, other tensors.

    sizes: quant type → bytes.
    """

    name: str
    weights: int
    sizes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Quantization:
    """A model's quantization. types: most weights first. layers: in order, with the parts outside of them around them.

    scales: source tensor → its block scales; tensors without scales are left out.
    """

    claim: Claim | None
    types: Mapping[str, QuantShare]
    layers: tuple[LayerShare, ...]
    scales: Mapping[str, ScaleRange]

    @property
    def bits_per_weight(self) -> float:
        """Bits per weight of the source, scales and minima included."""
        size = sum(share.size for share in self.types.values())
        return 8 * size / max(sum(share.weights for share in self.types.values()), 1)

    def to_json(self) -> dict[str, object]:
        """Return the quantization as in conversion.json. A conversion only finishes if every block is finite."""
        return {
            "claimed": None if self.claim is None else asdict(self.claim),
            "bits_per_weight": round(self.bits_per_weight, 4),
            "non_finite_blocks": 0,
            "types": {name: asdict(share) for name, share in self.types.items()},
            "layers": [
                {"name": layer.name, "weights": layer.weights, "sizes": dict(layer.sizes)}
                for layer in self.layers
            ],
            "scales": {name: asdict(scales) for name, scales in self.scales.items()},
        }


def quantization_of(header: Header, scales: Mapping[str, ScaleRange]) -> Quantization:
    """Return a model's quantization from its header and the counted scales."""
    tensors = header.tensors.values()
    return Quantization(claim_of(header.metadata), _types(tensors), _layers(tensors), dict(scales))


def claim_of(metadata: Metadata) -> Claim | None:
    """Return the type that the file claims; None if it has no such key, or not a number.

    Nothing depends on it, so no value is an error.
    """
    value = metadata.get(FILE_TYPE)
    if value is None or value.type not in INTEGERS:
        return None
    number = metadata.integer(FILE_TYPE)
    return Claim(number, FILE_TYPES.get(number & ~GUESSED))


def _types(tensors: Iterable[Tensor]) -> dict[str, QuantShare]:
    shares: dict[str, QuantShare] = {}
    for tensor in tensors:
        before = shares.get(tensor.type.name, QuantShare(0, 0, 0))
        shares[tensor.type.name] = QuantShare(
            before.tensors + 1, before.weights + tensor.weights, before.size + tensor.nbytes
        )
    return dict(sorted(shares.items(), key=lambda row: (-row[1].weights, row[0])))


def _layers(tensors: Iterable[Tensor]) -> tuple[LayerShare, ...]:
    weights: dict[str, int] = {}
    sizes: dict[str, dict[str, int]] = {}
    for tensor in tensors:
        name = _layer(tensor.name)
        weights[name] = weights.get(name, 0) + tensor.weights
        of_layer = sizes.setdefault(name, {})
        of_layer[tensor.type.name] = of_layer.get(tensor.type.name, 0) + tensor.nbytes
    names = [name for name in (OUTPUT, OTHER) if name in weights]
    layers = sorted((name for name in weights if name.isdecimal()), key=int)
    first = [EMBEDDING] if EMBEDDING in weights else []
    return tuple(LayerShare(name, weights[name], sizes[name]) for name in [*first, *layers, *names])


def _layer(name: str) -> str:
    """Return the number of a tensor's layer as text, or which part outside the layers it belongs to."""
    if found := LAYER.match(name):
        return str(int(found[1]))
    if name.startswith(("token_", "position_embd")):
        return EMBEDDING
    return OUTPUT if name.startswith("output") else OTHER
