"""Launch the Triton kernels on torch tensors: grid sizes, block sizes and buffers."""

from llorch.runtime.kernels.cuda.launch.activations import ActivationRows, pad_width
from llorch.runtime.kernels.cuda.launch.attention import Caches, attend, attend_many, rotate_many
from llorch.runtime.kernels.cuda.launch.matrices import (
    Blocking,
    blocking,
    float_linear,
    packed_linear,
    widen_rows,
    widen_tiles,
)
from llorch.runtime.kernels.cuda.launch.rows import TOP_PROGRAMS, add_and_norm, gate, most_probable, pack

__all__ = [
    "TOP_PROGRAMS",
    "ActivationRows",
    "Blocking",
    "Caches",
    "add_and_norm",
    "attend",
    "attend_many",
    "blocking",
    "float_linear",
    "gate",
    "most_probable",
    "pack",
    "packed_linear",
    "pad_width",
    "rotate_many",
    "widen_rows",
    "widen_tiles",
]
