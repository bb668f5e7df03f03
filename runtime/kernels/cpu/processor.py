"""What a processor multiplies with: its vector registers, and its product of unsigned with signed bytes.

LLVM does not make these instructions of plain multiplications, and ends the process where one is named that the
target lacks: so the choice is made here, from the target's features alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llvmlite import binding as llvm

from llorch.formats.vector_code import Has, Target

Instructions = Literal["avx512-vnni", "avx512", "avx2", "dotprod", "portable"]
# In bytes; a processor without one of the instructions below gets what LLVM makes of vectors of 32 bytes.
_REGISTERS: dict[Instructions, int] = {
    "avx512-vnni": 64,
    "avx512": 64,
    "avx2": 32,
    "dotprod": 32,
    "portable": 32,
}


@dataclass(frozen=True)
class Processor:
    """A target for kernels. instructions: which product of bytes it has. has: what else kernels may name."""

    target: Target
    instructions: Instructions

    @property
    def has(self) -> Has:
        """Conversions of halves, shuffles of bytes."""
        return self.target.has

    @property
    def register_bytes(self) -> int:
        """Of the vectors that kernels are written in."""
        return _REGISTERS[self.instructions]

    @property
    def lanes(self) -> int:
        """How many float32 a vector holds."""
        return self.register_bytes // 4

    @property
    def is_x86(self) -> bool:
        """Whether instructions of that family may be named."""
        return self.instructions.startswith("avx")


def processor_of(target: Target) -> Processor:
    """The best that the target's features allow."""
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
