"""The tensor type class, and the table in which each family's file registers its types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike, NDArray

from llorch.base.errors import UnsupportedInput

if TYPE_CHECKING:  # it imports LLVM, and the table of types must not
    from llorch.formats.vector_code.vectors import Block, CodedWeights, Value

Blocks = NDArray[np.void]
Decode = Callable[[Blocks], NDArray[np.float32]]
Vectors = Callable[["Block"], Iterator["Value | CodedWeights"]]


@dataclass(frozen=True, slots=True)
class QuantType:
    """One of ggml's tensor types.

    name, id: as in `enum ggml_type` of ggml/include/ggml.h.
    weights: weights in a block. layout: the bytes of one block, little-endian, with one field for every
    number that ggml reads at once, so that the blocks of a big-endian file can be byte-swapped.
    decode: blocks (n,) of `layout` → float32 (n, weights), bit-equal to the C reference except for the sign and
    payload of a NaN, which depend on the processor. Never warns, whatever the scales are.
    vectors: the same in vector code: yields the weights of one block (for a type of single weights, of 32) in order, as
    vectors of 16 float32. Only `llorch.formats.quants.compiled` calls it.
    """

    name: str
    id: int
    weights: int
    layout: np.dtype[np.void]
    decode: Decode
    vectors: Vectors | None = None

    @property
    def block_bytes(self) -> int:
        """Bytes of one block."""
        return self.layout.itemsize

    def __repr__(self) -> str:
        return self.name


_BY_ID: dict[int, QuantType] = {}

BY_ID: Mapping[int, QuantType] = MappingProxyType(_BY_ID)

# Ids that files of 2023 and 2024 may carry and that llama.cpp removed: their block size is 0 there.
REMOVED: Mapping[int, str] = MappingProxyType(
    {
        4: "Q4_2",
        5: "Q4_3",
        31: "Q4_0_4_4",
        32: "Q4_0_4_8",
        33: "Q4_0_8_8",
        36: "IQ4_NL_4_4",
        37: "IQ4_NL_4_8",
        38: "IQ4_NL_8_8",
    }
)


def quant_type(
    name: str, *, id: int, weights: int, **layout: DTypeLike | tuple[str, int]
) -> Callable[[Decode], Decode]:
    """Decorate a decode function to register its type; keywords are the fields of its layout, in byte order."""

    def enter(decode: Decode) -> Decode:
        # No NumPy warnings: a scale may be infinite or NaN, and weights that are not finite are found afterwards.
        silent: Decode = np.errstate(all="ignore")(decode)
        assert id not in _BY_ID, f"two types have the id {id}"
        _BY_ID[id] = QuantType(name, id, weights, np.dtype(list(layout.items())), silent)
        return silent

    return enter


def vector_code(name: str) -> Callable[[Vectors], Vectors]:
    """Decorate a type's vector code, which stands under its definition and must give the same bits."""

    def enter(vectors: Vectors) -> Vectors:
        type = by_name(name)
        _BY_ID[type.id] = replace(type, vectors=vectors)
        return vectors

    return enter


def by_id(id: int) -> QuantType:
    """Return the type with this id. UnsupportedInput for an unknown or removed one lists the known types."""
    found = _BY_ID.get(id)
    if found is not None:
        return found
    known = ", ".join(t.name for t in sorted(_BY_ID.values(), key=lambda t: t.id))
    if id in REMOVED:
        raise UnsupportedInput(
            f"has the type {REMOVED[id]} ({id}), which llama.cpp removed; known are {known}"
        )
    raise UnsupportedInput(f"has the unknown ggml type {id}; known are {known}")


def by_name(name: str) -> QuantType:
    """Return the type with this name; KeyError if there is none."""
    for found in _BY_ID.values():
        if found.name == name:
            return found
    raise KeyError(name)


def decode(type: QuantType, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode whole blocks of raw bytes to their weights, flat, in float32, by the plain definition."""
    return type.decode(raw.view(type.layout)).reshape(-1)
