"""Rounding to the output dtype, and finding values that are not finite in it, with NumPy alone."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf.quants import quantize
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llorch.formats.quants import by_name
from llorch.formats.quants.numpy_kernels import dequantize_into, first_not_finite, round_into

Floats = NDArray[np.float32]
KINDS = [np.float32, np.float16, np.uint16]


def as_bfloat16(weights: Floats) -> NDArray[np.uint16]:
    out = np.zeros(weights.size, np.uint16)
    round_into(weights, out)
    return out


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=64))
def test_bfloat16_is_what_gguf_py_rounds_to(bits: list[int]) -> None:
    weights = np.array(bits, np.uint32).view(np.float32)
    theirs = quantize(weights, gguf.GGMLQuantizationType.BF16).view(np.uint16)
    assert (as_bfloat16(weights) == theirs)[~np.isnan(weights)].all()


def test_a_tie_goes_to_the_even_bfloat16() -> None:
    weights = np.array([1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8), 2**-133 / 2], np.float32)
    assert as_bfloat16(weights).tolist() == [0x3F80, 0x3F82, 0xBF80, 0x0000]


@given(st.integers(0x7F800001, 0x7FFFFFFF), st.booleans())
def test_a_nan_stays_a_nan(bits: int, negative: bool) -> None:
    weights = np.array([bits | negative << 31], np.uint32).view(np.float32)
    half = np.zeros(1, np.float16)
    round_into(weights, half)
    assert np.isnan(half[0])
    assert as_bfloat16(weights)[0] & 0x7FFF > 0x7F80


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [0, 5, 65_535, 65_536, 99_999])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_the_first_that_is_not_finite_is_found(kind: type, at: int, value: float) -> None:
    weights = np.ones(100_000, np.float32)
    weights[[at, -1]] = value
    out: NDArray[np.generic] = np.zeros(100_000, kind)
    assert dequantize_into(by_name("F32"), weights.view(np.uint8), out) == at
    assert first_not_finite(out[at + 1 :]) == (-1 if at == 99_999 else 99_998 - at)


@pytest.mark.parametrize(
    ("kind", "largest"), [(np.float16, 65520 - 2**-8), (np.uint16, np.uint32(0x7F7F7FFF).view(np.float32))]
)
def test_the_largest_that_rounds_down_is_finite_and_the_next_is_not(kind: type, largest: float) -> None:
    weights = np.array([largest, np.nextafter(np.float32(largest), np.float32(np.inf))], np.float32)
    assert dequantize_into(by_name("F32"), weights.view(np.uint8), np.zeros(2, kind)) == 1


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_blocks_and_weights_must_agree(size: int) -> None:
    with pytest.raises(ValueError, match="34 bytes of Q8_0 do not make"):
        dequantize_into(by_name("Q8_0"), np.zeros(34, np.uint8), np.zeros(size, np.float16))


def test_arrays_that_are_not_contiguous_are_refused() -> None:
    with pytest.raises(ValueError, match="flat and contiguous"):
        dequantize_into(by_name("Q8_0"), np.zeros(34, np.uint8), np.zeros(64, np.float16)[::2])
