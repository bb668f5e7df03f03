"""Scales beside weights: X.weight is to be multiplied by X.scale.

ModelOpt's NVFP4 has a float32 scale on top of the blocks' own: one per matrix, or one per expert. llama.cpp's
converter writes it if it is not 1, and next to it X.input_scale, a scale of the activations.
Sources: llama.cpp, conversion/base.py, `_repack_nvfp4` and `_flush_nvfp4_experts`; src/llama-model.cpp, `load_tensors`,
for which weights have one (no embedding, no router, no experts with fused gate and up); src/llama-graph.cpp,
`build_lora_mm` and `build_lora_mm_id`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.converter.plan.dtype import Float32
from llorch.formats.gguf import Tensor, TensorData

# Weights of a layer that may have a scale, whatever their type.
IN_LAYERS = frozenset(
    {
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_qkv",
        "attn_output",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
        "ffn_gate_shexp",
        "ffn_up_shexp",
        "ffn_down_shexp",
        "ffn_gate_exps",
        "ffn_up_exps",
        "ffn_down_exps",
    }
)
ONLY_OF_NVFP4 = "output"

# For these llama.cpp applies the scale after the bias, and aborts if they are NVFP4.
BEFORE_BIAS = frozenset({"ffn_gate", "ffn_up", "ffn_down"})

OF_ACTIVATIONS = "scales the activations, which stay float in the folder"


@dataclass(frozen=True, slots=True)
class Scale:
    """One number of a scale tensor. value: None until it is read."""

    tensor: Tensor
    index: int
    value: float | None = None

    def times(self, weights: Float32) -> Float32:
        """Multiply weights by the scale in float32; LookupError if it has not been read."""
        if self.value is None:
            raise LookupError(f"{self.tensor.name} has not been read")
        return weights * np.float32(self.value)

    def read(self, data: TensorData) -> Scale:
        """Return the scale with its value; MalformedInput if that is zero or not finite."""
        value = float(data.read(self.tensor, 4 * self.index, 4 * self.index + 4).view("<f4")[0])
        if value == 0 or not np.isfinite(value):
            raise MalformedInput(
                f"number {self.index} is {value:g}, which no scale can be",
                where=f"tensor {printable(self.tensor.name)}",
                offset=self.tensor.offset + 4 * self.index,
            )
        return replace(self, value=value)


def scales_of(weight: Tensor, tensors: Mapping[str, Tensor], count: int) -> list[Scale | None]:
    """Return the scale of each of the `count` slices of a tensor's first dimension (a matrix has one), or None.

    Raises MalformedInput for a scale of another type or size, UnsupportedInput for one beside a bias that
    llama.cpp would multiply too.
    """
    stem = weight.name.removesuffix(".weight")
    tensor = tensors.get(f"{stem}.scale")
    if tensor is None or not _may_have_scale(weight):
        return [None] * count
    where = f"tensor {printable(tensor.name)}"
    if tensor.type.name != "F32" or not tensor.shape[-1:] == (tensor.weights,) == (count,):
        raise MalformedInput(
            f"is {tensor.type.name} {list(tensor.shape)}, expected F32 [{count}]", where=where
        )
    if stem.rpartition(".")[2] in BEFORE_BIAS and f"{stem}.bias" in tensors:
        raise UnsupportedInput(
            f"is there beside {stem}.bias: whether it scales that too is unsaid", where=where
        )
    return [Scale(tensor, index) for index in range(count)]


def input_scales(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the activation scales beside weights that may have one, and why they are not written."""
    names = (
        f"{name.removesuffix('.weight')}.input_scale" for name, t in tensors.items() if _may_have_scale(t)
    )
    return dict.fromkeys((name for name in names if name in tensors), OF_ACTIVATIONS)


def require_weights(unknown: Iterable[str], tensors: Mapping[str, Tensor]) -> None:
    """Raise MalformedInput for a scale among the unknown tensors that has no weight beside it."""
    for name in unknown:
        stem, _, kind = name.rpartition(".")
        known = stem.rpartition(".")[2] in IN_LAYERS or stem == ONLY_OF_NVFP4
        if known and kind in ("scale", "input_scale") and f"{stem}.weight" not in tensors:
            raise MalformedInput(f"is there without {stem}.weight", where=f"tensor {printable(name)}")


def _may_have_scale(weight: Tensor) -> bool:
    stem, _, kind = weight.name.rpartition(".")
    in_layers = stem.startswith("blk.") and stem.rpartition(".")[2] in IN_LAYERS
    return kind == "weight" and (in_layers or (stem == ONLY_OF_NVFP4 and weight.type.name == "NVFP4"))
