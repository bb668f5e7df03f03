"""Types without blocks: floats and integers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llorch.formats.quants.bits import column
from llorch.formats.quants.types import Blocks, quant_type, vector_code

if TYPE_CHECKING:
    from llorch.formats.vector_code.vectors import Block, Value


@quant_type("F32", id=0, weights=1, w="<f4")
def f32(b: Blocks) -> NDArray[np.float32]:
    """The weight as it is."""
    return column(b["w"])


@vector_code("F32")
def _f32(b: Block) -> Iterator[Value]:
    for first in (0, 16):
        yield b.numbers("w", first, 16)


@quant_type("F16", id=1, weights=1, w="<f2")
def f16(b: Blocks) -> NDArray[np.float32]:
    """The weight widened, exactly."""
    return column(b["w"])


@vector_code("F16")
def _f16(b: Block) -> Iterator[Value]:
    for first in (0, 16):
        yield b.numbers("w", first, 16)


@quant_type("BF16", id=30, weights=1, w="<u2")
def bf16(b: Blocks) -> NDArray[np.float32]:
    """The weight's 16 bits as the upper half of a float32, exactly."""
    return (b["w"].astype(np.uint32) << 16).view(np.float32)[:, None]


@vector_code("BF16")
def _bf16(b: Block) -> Iterator[Value]:
    for first in (0, 16):
        yield (b.numbers("w", first, 16).widen(32) << 16).as_floats()


@quant_type("F64", id=28, weights=1, w="<f8")
def f64(b: Blocks) -> NDArray[np.float32]:
    """The weight rounded once to nearest even; beyond float32's range it is infinite."""
    return column(b["w"])


@vector_code("F64")
def _f64(b: Block) -> Iterator[Value]:
    for first in (0, 16):
        yield b.numbers("w", first, 16)


@quant_type("I8", id=24, weights=1, w="i1")
def i8(b: Blocks) -> NDArray[np.float32]:
    """The integer, exactly."""
    return column(b["w"])


@vector_code("I8")
def _i8(b: Block) -> Iterator[Value]:
    for first in (0, 16):
        yield b.numbers("w", first, 16).signed_floats()


@quant_type("I16", id=25, weights=1, w="<i2")
def i16(b: Blocks) -> NDArray[np.float32]:
    """The integer, exactly."""
    return column(b["w"])


@vector_code("I16")
def _i16(b: Block) -> Iterator[Value]:
    for first in (0, 16):
        yield b.numbers("w", first, 16).signed_floats()


@quant_type("I32", id=26, weights=1, w="<i4")
def i32(b: Blocks) -> NDArray[np.float32]:
    """The integer rounded once to nearest even; exact up to 2²⁴."""
    return column(b["w"])


@vector_code("I32")
def _i32(b: Block) -> Iterator[Value]:
    for first in (0, 16):
        yield b.numbers("w", first, 16).signed_floats()


@quant_type("I64", id=27, weights=1, w="<i8")
def i64(b: Blocks) -> NDArray[np.float32]:
    """The integer rounded once to nearest even; exact up to 2²⁴."""
    return column(b["w"])


@vector_code("I64")
def _i64(b: Block) -> Iterator[Value]:
    for first in (0, 16):
        yield b.numbers("w", first, 16).signed_floats()
