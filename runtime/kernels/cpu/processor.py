"""The instruction set that kernels use: vector registers, and the product of unsigned with signed bytes.

LLVM does not produce these instructions from plain multiplications, and aborts the process if an intrinsic is used that
the target lacks. So the choice is made here, from the target's features alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llvmlite import binding as llvm

from llorch.formats.vector_code import Has, Target

Instructions = Literal["avx512-vnni", "avx512", "avx2", "dotprod", "portable"]
# Vector size in bytes; on a processor without these instructions, LLVM splits vectors of 32 bytes.
_REGISTERS: dict[Instructions, int] = {
    "avx512-vnni": 64,
    "avx512": 64,
    "avx2": 32,
    "dotprod": 32,
    "portable": 32,
}


@dataclass(frozen=True)
class Processor:
    """A target for kernels. instructions: its product of bytes. has: other instructions that kernels may use."""

    target: Target
    instructions: Instructions

    @property
    def has(self) -> Has:
        """Its support for converting half floats and for shuffling bytes."""
        return self.target.has

    @property
    def register_bytes(self) -> int:
        """Size of the vectors that kernels are written for."""
        return _REGISTERS[self.instructions]

    @property
    def lanes(self) -> int:
        """Number of float32 in a vector."""
        return self.register_bytes // 4

    @property
    def is_x86(self) -> bool:
        """Whether x86 intrinsics may be used."""
        return self.instructions.startswith("avx")


def processor_of(target: Target) -> Processor:
    """The best instruction set that the target's features allow."""
    features = set(target.features.split(","))
    triple = llvm.get_process_triple()
    if triple.startswith(("x86_64", "amd64")):
        if {"+avx512bw", "+avx512vl", "+avx512dq", "+f16c", "+fma"} <= features:
            return Processor(target, "avx512-vnni" if "+avx512vnni" in features else "avx512")
        if {"+avx2", "+fma", "+f16c"} <= features:
            return Processor(target, "avx2")
    elif triple.startswith(("aarch64", "arm64")) and "+dotprod" in features:
        return Processor(target, "dotprod")
    return Processor(target, "portable")
