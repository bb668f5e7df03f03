"""Every type's vector code has the bits of its plain definition, on every kind of processor."""

from __future__ import annotations

import platform
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from llorch.formats.quants import BY_ID, QuantType, by_name, compiled, decode, numpy_kernels
from llorch.formats.quants.kernel import step
from llorch.formats.vector_code.jit_cache import Target, this_machine
from tests.formats.quants.samples import HALVES, edge_blocks, random_blocks

Bytes = NDArray[np.uint8]
Bits = NDArray[np.generic]
TYPES = sorted(BY_ID.values(), key=lambda t: t.id)
KINDS = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}

# No AVX, and no instruction between half and float32; the library function that LLVM would call is not available.
OLDEST = Target("x86-64", "")
X86 = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="compiles for x86-64")


def comparable(out: Bits) -> Bits:
    """Return the bits, with one pattern for all NaNs."""
    bits = out.view(f"u{out.itemsize}")
    exponent = {"<f4": 0x7F800000, "<f2": 0x7C00, "<u2": 0x7F80}[out.dtype.str]
    is_nan = bits & (1 << 8 * out.itemsize - 1) - 1 > exponent
    return np.where(is_nan, exponent + 1, bits)


def both(type: QuantType, raw: Bytes, dtype: str, threads: int = 1) -> tuple[Bits, Bits]:
    """Return what the plain and the compiled form write and return."""
    weights = raw.size // type.block_bytes * type.weights
    plain, fast = np.zeros(weights, KINDS[dtype]), np.zeros(weights, KINDS[dtype])
    answers = (
        numpy_kernels.dequantize_into(type, raw, plain),
        compiled.dequantize_into(type, raw, fast, threads=threads),
    )
    assert answers[0] == answers[1]
    return comparable(plain), comparable(fast)


def finite_blocks(type: QuantType, raw: Bytes, dtype: str) -> Bytes:
    """Return the blocks whose weights are all finite as written, so that the kernel's result is used."""
    out = np.zeros(raw.size // type.block_bytes * type.weights, KINDS[dtype])
    numpy_kernels.dequantize_into(type, raw, out)
    exponent = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}[dtype]
    finite = (out.view(f"u{out.itemsize}") & exponent != exponent).reshape(-1, type.weights).all(axis=1)
    blocks: Bytes = raw.reshape(-1, type.block_bytes)[finite]
    return blocks.reshape(-1)


def same(left: Bits, right: Bits) -> None:
    np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("type", TYPES, ids=repr)
def test_vector_code_writes_the_bits_of_the_definition(type: QuantType, dtype: str) -> None:
    # An odd number, so that types of single weights have a remainder.
    raw = finite_blocks(type, np.concatenate([edge_blocks(type), random_blocks(type, 20_003)]), dtype)
    assert raw.size >= 10_000 * type.block_bytes
    assert (
        compiled.dequantize_into(
            type, raw, np.zeros(raw.size // type.block_bytes * type.weights, KINDS[dtype])
        )
        == -1
    )
    same(*both(type, raw, dtype))


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("type", TYPES, ids=repr)
def test_blocks_that_are_not_finite_come_out_as_defined(type: QuantType, dtype: str) -> None:
    same(*both(type, edge_blocks(type), dtype))


@pytest.mark.parametrize("type", TYPES, ids=repr)
def test_no_weight_of_a_block_is_larger_than_its_kernel_says(type: QuantType) -> None:
    raw = np.concatenate([edge_blocks(type), random_blocks(type, 1_000)])
    blocks = step(type)
    raw = raw[: raw.size // (blocks * type.block_bytes) * blocks * type.block_bytes]
    largest = (decode(type, raw).view(np.uint32) & 0x7FFFFFFF).reshape(-1, blocks * type.weights).max(axis=1)
    run = compiled.compiled_kernel(type, "F32", this_machine())
    out = np.zeros(blocks * type.weights, np.float32)
    steps = raw.reshape(-1, blocks * type.block_bytes)
    said = np.array([run(one.ctypes.data, out.ctypes.data, 1) for one in steps], np.uint32)
    infinite = np.uint32(0x7F800000)  # a NaN's payload depends on the processor
    assert (np.minimum(said, infinite) >= np.minimum(largest, infinite)).all()


@pytest.mark.parametrize("type", TYPES, ids=repr)
def test_threads_change_nothing(type: QuantType) -> None:
    raw = finite_blocks(type, random_blocks(type, 1_003), "F32")
    weights = raw.size // type.block_bytes * type.weights
    written = []
    for threads in (1, 2, 3):
        out = np.zeros(weights, np.float32)
        assert compiled.dequantize_into(type, raw, out, threads=threads) == -1
        written.append(out.tobytes())
    assert written[0] == written[1] == written[2]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("blocks", [0, 1, 2, 31, 32, 33])
def test_few_blocks_are_dequantized(blocks: int, threads: int) -> None:
    for name in ("F16", "Q4_0", "Q6_K"):
        raw = finite_blocks(by_name(name), random_blocks(by_name(name), 50), "F16")
        np.testing.assert_array_equal(
            *both(by_name(name), raw[: blocks * by_name(name).block_bytes], "F16", threads)
        )


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("at", [0, 700, 9_999, 10_015])
def test_the_first_weight_that_is_not_finite_is_returned(dtype: str, threads: int, at: int) -> None:
    weights = np.ones(10_016 + 7, np.float32)
    out = np.zeros(weights.size, KINDS[dtype])
    assert compiled.dequantize_into(by_name("F32"), weights.view(np.uint8), out, threads=threads) == -1
    weights[[at, 10_020]] = np.nan, np.inf
    assert compiled.dequantize_into(by_name("F32"), weights.view(np.uint8), out, threads=threads) == at


@pytest.mark.parametrize(("dtype", "bits"), [("F16", 0x477FEFFF), ("BF16", 0x7F7F7FFF), ("F32", 0x7F7FFFFF)])
def test_what_rounds_to_an_infinity_is_not_finite(dtype: str, bits: int) -> None:
    weights = np.full(64, bits, np.uint32)
    out = np.zeros(64, KINDS[dtype])
    assert compiled.dequantize_into(by_name("F32"), weights.view(np.uint8), out) == -1
    weights[40] += 1
    assert compiled.dequantize_into(by_name("F32"), weights.view(np.uint8), out) == 40


@pytest.mark.parametrize(("name", "dtype"), [("F32", "F32"), ("F16", "F16"), ("BF16", "BF16")])
def test_a_source_in_the_written_dtype_is_copied_payloads_included(name: str, dtype: str) -> None:
    raw = random_blocks(by_name(name), 100_003)
    out = np.zeros(100_003, KINDS[dtype])
    assert compiled.dequantize_into(by_name(name), raw, out) >= 0
    assert out.tobytes() == raw.tobytes()


def on(target: Target, name: str, dtype: str, raw: Bytes) -> Bits:
    """Run a kernel compiled for a target, over whole steps."""
    type = by_name(name)
    out = np.zeros(raw.size // type.block_bytes * type.weights, KINDS[dtype])
    steps = raw.size // type.block_bytes // step(type)
    compiled.compiled_kernel(type, dtype, target)(raw.ctypes.data, out.ctypes.data, steps)
    return out


@X86
@pytest.mark.parametrize("target", [OLDEST, this_machine()], ids=["oldest", "this"])
def test_every_half_is_widened_exactly(target: Target) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)
    wide = on(target, "F16", "F32", halves.view(np.uint8))
    np.testing.assert_array_equal(comparable(wide), comparable(halves.view(np.float16).astype(np.float32)))


@X86
@pytest.mark.parametrize("target", [OLDEST, this_machine()], ids=["oldest", "this"])
def test_every_tie_between_halves_and_its_neighbours_are_rounded_as_numpy_does(target: Target) -> None:
    halves = np.arange(0x7BFF, dtype=np.uint16).view(np.float16).astype(np.float64)
    ties = (halves + np.append(halves[1:], 65504)) / 2
    near = ties.astype(np.float32)[:, None].view(np.int32) + np.array([[-1, 0, 1, -(2**31)]], np.int32)
    weights = np.resize(np.maximum(near, -(2**31)).view(np.float32), 32 * 4096)
    np.testing.assert_array_equal(
        on(target, "F32", "F16", weights.view(np.uint8)).view(np.uint16),
        weights.astype(np.float16).view(np.uint16),
    )


@X86
@pytest.mark.parametrize("half", HALVES)
def test_a_single_half_is_widened_exactly(half: np.uint16) -> None:
    raw = np.zeros(1, by_name("Q8_0").layout)
    raw["d"], raw["qs"] = half.view(np.float16), 1
    wide = on(OLDEST, "Q8_0", "F32", raw.view(np.uint8))
    np.testing.assert_array_equal(comparable(wide), comparable(decode(by_name("Q8_0"), raw.view(np.uint8))))


@X86
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("name", ["Q5_1", "Q4_K", "IQ2_XS", "MXFP4", "I64", "F64"])
def test_the_oldest_processor_writes_the_same_bits(name: str, dtype: str) -> None:
    type = by_name(name)
    raw = finite_blocks(type, random_blocks(type, 1024), dtype)
    raw = raw[: raw.size // type.block_bytes // step(type) * step(type) * type.block_bytes]
    np.testing.assert_array_equal(on(OLDEST, name, dtype, raw), on(this_machine(), name, dtype, raw))


@X86
@pytest.mark.slow
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("target", [OLDEST, Target("haswell", "+avx2,+f16c,+fma"), Target("x86-64-v2", "")])
@pytest.mark.parametrize("type", TYPES, ids=repr)
def test_every_processor_writes_the_same_bits(type: QuantType, target: Target, dtype: str) -> None:
    raw = finite_blocks(type, np.concatenate([edge_blocks(type), random_blocks(type, 12_000)]), dtype)
    raw = raw[: raw.size // type.block_bytes // step(type) * step(type) * type.block_bytes]
    np.testing.assert_array_equal(
        on(target, type.name, dtype, raw), on(this_machine(), type.name, dtype, raw)
    )


@pytest.mark.parametrize("into", [compiled.dequantize_into, numpy_kernels.dequantize_into])
def test_no_memory_the_size_of_a_tensor_is_allocated(into: type) -> None:
    type = by_name("Q8_0")
    raw, out = np.zeros(1 << 17, type.layout).view(np.uint8), np.zeros(1 << 22, np.uint16)
    into(type, raw[:34], out[:32])
    tracemalloc.start()
    into(type, raw, out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20
