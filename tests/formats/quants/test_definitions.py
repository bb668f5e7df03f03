"""Every type's plain definition against reference decoders on the same blocks."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from llorch.formats.quants import BY_ID, QuantType, by_name, decode
from tests.formats.quants import reference
from tests.formats.quants.samples import edge_blocks, random_blocks

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
TYPES = sorted(BY_ID.values(), key=lambda t: t.id)

ORACLES = [
    (reference.by_gguf_py, reference.GGUF_PY),
    (reference.by_libgguf, reference.LIBGGUF),
    (reference.by_llama_cpp, reference.LLAMA_CPP),
    (reference.by_struct, ["Q8_1", *reference.NUMBERS]),
]


def bits(weights: Floats) -> NDArray[np.uint32]:
    """Return a float's bits, with one pattern for all NaNs, since their payload depends on the processor."""
    return np.where(np.isnan(weights), np.uint32(0x7FC00000), weights.view(np.uint32))


@pytest.mark.parametrize(
    ("oracle", "type"),
    [pytest.param(o, by_name(name), id=f"{o.__name__}-{name}") for o, names in ORACLES for name in names],
)
def test_a_definition_has_the_bits_of_the_reference(
    oracle: Callable[[QuantType, Bytes], Floats], type: QuantType
) -> None:
    raw = np.concatenate([random_blocks(type, 10_000), edge_blocks(type)])
    np.testing.assert_array_equal(bits(decode(type, raw)), bits(oracle(type, raw)))


def test_every_type_has_a_reference_decoder() -> None:
    assert {name for _, names in ORACLES for name in names} == {t.name for t in TYPES}


@pytest.mark.parametrize("type", TYPES, ids=repr)
def test_no_scale_makes_a_definition_warn(type: QuantType) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(type, edge_blocks(type))


@pytest.mark.parametrize("type", [t for t in TYPES if not t.name.startswith("I8")], ids=repr)
def test_the_edge_blocks_have_weights_that_are_not_finite_if_a_type_can(type: QuantType) -> None:
    integers = type.name in ("I16", "I32", "I64")
    bytes_only = type.name == "NVFP4"
    assert np.isfinite(decode(type, edge_blocks(type))).all() == (integers or bytes_only)
