"""Products from packed blocks, with every instruction set of this machine, against gguf-py's dequantization."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from llorch.formats.quants import BY_ID, QuantType, by_name, decode
from llorch.formats.vector_code.jit_cache import this_machine
from llorch.runtime.errors import KernelMismatch
from llorch.runtime.kernels.cpu import grouped, multiply
from llorch.runtime.kernels.cpu.grouped import GROUPED, GroupedType, Groups, Run
from llorch.runtime.kernels.cpu.library import Library, library, planes_of, sample
from llorch.runtime.kernels.cpu.multiply import Blocks, Product
from llorch.runtime.kernels.cpu.processor import Instructions, Processor, processor_of
from llorch.runtime.mode import Mode

# Relative to the root mean square of the results: rounding of float32 sums; of 16-bit and of 8-bit activations.
ALLOWED = {Mode.EXACT: 2e-6, Mode.VERIFY: 2e-4, Mode.FAST: 3e-2}
ROWS, WIDTH = 37, 768  # not a multiple of a panel's rows; three superblocks
INTEGERS = ("I8", "I16", "I32", "I64", "F64")

TYPES = [
    type.name
    for type in BY_ID.values()
    if type.vectors is not None and type.name not in ("Q8_K", "Q8_1", *INTEGERS)
]
# The machine's features that each instruction set needs: one is tested if it is a subset of them.
WORSE: dict[Instructions, tuple[Instructions, ...]] = {
    "avx512-vnni": ("avx512-vnni", "avx512", "avx2", "portable"),
    "avx512": ("avx512", "avx2", "portable"),
    "avx2": ("avx2", "portable"),
    "dotprod": ("dotprod", "portable"),
    "portable": ("portable",),
}


def definition(type: QuantType, raw: NDArray[np.uint8], width: int) -> NDArray[np.float64]:
    """Dequantize by gguf-py, or by NumPy if gguf-py lacks the type: (rows, width)."""
    if type.name == "F32":
        return raw.view(np.float32).reshape(-1, width).astype(np.float64)
    if type.name == "F16":
        return raw.view(np.float16).reshape(-1, width).astype(np.float64)
    rows = raw.reshape(-1, type.block_bytes * width // type.weights)
    try:
        weights = dequantize(rows, GGMLQuantizationType[type.name])
    except (KeyError, NotImplementedError):  # newer than gguf-py
        weights = decode(type, raw).reshape(-1, width)
    widened: NDArray[np.float64] = weights.astype(np.float64)
    return widened


def relative_error(y: torch.Tensor, expected: NDArray[np.float64]) -> float:
    """Root mean square of the differences, relative to the expected values'."""
    difference = y.double().numpy() - expected
    return float(np.sqrt((difference**2).mean() / (expected**2).mean()))


@pytest.fixture(params=WORSE[processor_of(this_machine()).instructions])
def instructions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Instructions:
    """Make `multiply` use the kernels of one instruction set."""
    chosen: Instructions = request.param
    made = Library(Processor(this_machine(), chosen))
    monkeypatch.setattr(multiply, "library", lambda: made)
    return chosen


@pytest.mark.parametrize("name", ["Q4_K", "Q6_K", "Q8_0", "Q4_1", "Q5_0", "MXFP4"])
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("columns", [1, 3, 21])
def test_every_instruction_set_computes_the_product(
    instructions: Instructions, name: str, mode: Mode, columns: int
) -> None:
    check_product(name, mode, columns)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("columns", [2, 13])
def test_every_type_has_a_product(name: str, mode: Mode, columns: int) -> None:
    check_product(name, mode, columns)


def check_product(name: str, mode: Mode, columns: int) -> None:
    type = by_name(name)
    raw = sample(type, ROWS * WIDTH // type.weights)
    x = torch.randn(columns, WIDTH, generator=torch.Generator().manual_seed(columns))
    bias = torch.randn(ROWS, generator=torch.Generator().manual_seed(1))
    (y,) = multiply.multiply(x, [Product(Blocks(type, raw, WIDTH), bias)], mode)
    expected = x.double().numpy() @ definition(type, raw, WIDTH).T + bias.double().numpy()
    assert y.shape == (columns, ROWS)
    assert relative_error(y, expected) <= (ALLOWED[mode] if planes_of(type, mode) else ALLOWED[Mode.EXACT])


@pytest.mark.parametrize("name", sorted(GROUPED))
def test_two_planes_are_a_hundred_times_more_exact_than_one(name: str) -> None:
    type = by_name(name)
    raw = sample(type, ROWS * WIDTH // type.weights)
    x = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(0))
    expected = x.double().numpy() @ definition(type, raw, WIDTH).T
    one, two = (
        relative_error(multiply.multiply(x, [Product(Blocks(type, raw, WIDTH))], mode)[0], expected)
        for mode in (Mode.FAST, Mode.VERIFY)
    )
    assert two < one / 100


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 9, 48])
@pytest.mark.parametrize("name", ["Q5_0", "Q6_K", "F32"])
def test_products_of_one_operand_can_have_different_modes(name: str, columns: int) -> None:
    """Each equals its product alone; those of float weights are exact."""
    type = by_name(name)
    blocks = Blocks(type, sample(type, ROWS * WIDTH // type.weights), WIDTH)
    x = torch.randn(columns, WIDTH, generator=torch.Generator().manual_seed(0))
    products = [Product(blocks), Product(blocks, mode=Mode.VERIFY)]
    together = multiply.multiply(x, products, Mode.FAST)
    for product, mode, found in zip(products, (Mode.FAST, Mode.VERIFY), together, strict=True):
        assert (
            relative_error(found, multiply.multiply(x, [product], mode)[0].double().numpy())
            <= ALLOWED[Mode.EXACT]
        )


@pytest.mark.parametrize("rounded", ["BF16", "F16"])
@pytest.mark.parametrize("name", ["Q4_K", "Q6_K", "Q8_0"])
def test_rounded_weights_equal_torchs_rounding(name: str, rounded: str) -> None:
    type = by_name(name)
    raw = sample(type, ROWS * WIDTH // type.weights)
    kind = {"BF16": torch.bfloat16, "F16": torch.float16}[rounded]
    weights = torch.from_numpy(definition(type, raw, WIDTH)).float().to(kind).double().numpy()
    x = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0))
    (y,) = multiply.multiply(x, [Product(Blocks(type, raw, WIDTH))], Mode.EXACT, rounded)
    assert relative_error(y, x.double().numpy() @ weights.T) <= ALLOWED[Mode.EXACT]


@pytest.mark.parametrize(
    ("mode", "columns"),
    [(mode, columns) for mode in Mode for columns in (1, 7, 40)],
)
def test_threads_do_not_change_a_bit(mode: Mode, columns: int) -> None:
    type = by_name("Q5_K")
    product = Product(Blocks(type, sample(type, 300 * WIDTH // type.weights), WIDTH))
    x = torch.randn(columns, WIDTH, generator=torch.Generator().manual_seed(0))
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 1, 2):
            torch.set_num_threads(threads)
            results += [multiply.multiply(x, [product], mode)[0] for _ in range(5)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("value", [0.0, float("inf"), float("nan"), 1e-30, 3e38])
@pytest.mark.parametrize("mode", [Mode.FAST, Mode.VERIFY])
def test_zero_tiny_and_nan_activations_affect_only_their_own_row(value: float, mode: Mode) -> None:
    """Zeros and tiny values give zeros; NaN stays NaN, and only in its own row."""
    type = by_name("Q4_0")
    x = torch.ones(3, WIDTH)
    x[1, :32] = value
    (y,) = multiply.multiply(x, [Product(Blocks(type, sample(type, ROWS * WIDTH // 32), WIDTH))], mode)
    assert torch.equal(y[0], y[2])
    assert bool(torch.isfinite(y[0]).all())
    assert bool(torch.isfinite(y[1]).all()) == (abs(value) < 1)


def wrong_scale(run: Run) -> Groups:
    found = GROUPED["Q4_0"].describe(run)
    return Groups(found.codes, found.scales * 1.01, found.minima)


def swapped_nibbles(run: Run) -> Groups:
    found = GROUPED["Q4_0"].describe(run)
    return Groups([codes[16:].concat(codes[:16]) for codes in found.codes], found.scales, found.minima)


@pytest.mark.parametrize("fault", [wrong_scale, swapped_nibbles])
def test_a_wrong_kernel_is_found_before_it_is_used(
    fault: grouped.Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = {**GROUPED, "Q4_0": GroupedType(by_name("Q4_0"), 32, 4, fault, by_words=True)}
    monkeypatch.setattr("llorch.runtime.kernels.cpu.library.GROUPED", faulty)
    with pytest.raises(KernelMismatch, match="product-Q4_0-1-1"):
        Library(library().processor).product(by_name("Q4_0"), Mode.FAST, 1)


def test_the_sound_description_passes_the_same_comparison() -> None:
    kernels = Library(library().processor)
    kernels.product(by_name("Q4_0"), Mode.FAST, 1)
    assert "product-Q4_0-1-1" in kernels.compiled
