"""Which tensor types this machine's kernels support, for reporting to users; needs no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llorch.formats.quants import by_name
from llorch.formats.vector_code import this_machine
from llorch.runtime.kernels.cpu.grouped import GROUPED
from llorch.runtime.kernels.cpu.processor import Instructions, processor_of


@dataclass(frozen=True, slots=True)
class KernelSupport:
    """The kernels available on this machine.

    instructions: the instruction set of products. int8: types with int8 products, for modes fast and verify.
    float32: types whose products are exact in every mode. none: types without kernels, dequantized for torch.
    """

    instructions: Instructions
    int8: tuple[str, ...]
    float32: tuple[str, ...]
    none: tuple[str, ...]


def kernel_support(types: Iterable[str]) -> KernelSupport:
    """Classify types by name, keeping their order."""
    names = list(types)
    exact = [name for name in names if name not in GROUPED and by_name(name).vectors is not None]
    return KernelSupport(
        processor_of(this_machine()).instructions,
        tuple(name for name in names if name in GROUPED),
        tuple(exact),
        tuple(name for name in names if name not in GROUPED and name not in exact),
    )
