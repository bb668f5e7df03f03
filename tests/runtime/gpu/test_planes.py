"""Packed weights as a GPU holds them: repacked by moving bits, and worth what the blocks were worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llorch.formats.quants import BY_ID, QuantType, by_name, decode
from llorch.runtime.blocks.linear import Numbers
from llorch.runtime.kernels.cuda.planes import TILE, join_planes, plane_bytes, repack, widen
from llorch.runtime.kernels.cuda.unpack import FORMS
from tests.formats.quants.reference import by_gguf_py
from tests.formats.quants.samples import edge_blocks, random_blocks

PACKED = [by_name(name) for name in FORMS]
COLUMNS = 512


def blocks(type: QuantType, rows: int, columns: int = COLUMNS) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.ascontiguousarray(
        random_blocks(type, rows * columns // type.weights).view(np.uint8).reshape(-1)
    )


def bits(weights: torch.Tensor | np.ndarray[tuple[int], np.dtype[np.float32]]) -> list[int]:
    """Of float32 numbers, those that are none with one pattern: their payload is the processor's."""
    array = np.asarray(weights, np.float32).reshape(-1).copy()
    array[np.isnan(array)] = np.nan
    return array.view(np.uint32).tolist()


def test_every_type_of_blocks_has_a_form() -> None:
    assert set(FORMS) == {type.name for type in BY_ID.values() if type.weights > 1}


@pytest.mark.parametrize("type", PACKED, ids=repr)
def test_planes_are_worth_what_the_blocks_are(type: QuantType) -> None:
    raw = blocks(type, rows=70)
    planes = repack(type, torch.from_numpy(raw), 70, COLUMNS)
    assert bits(widen(planes)) == bits(decode(type, raw))


@pytest.mark.parametrize("type", PACKED, ids=repr)
def test_extreme_blocks_stay_what_they_are(type: QuantType) -> None:
    raw = edge_blocks(type).view(np.uint8).reshape(-1)
    columns = max(32, type.weights)
    rows = len(raw) // type.block_bytes * type.weights // columns
    raw = raw[: rows * columns // type.weights * type.block_bytes]
    planes = repack(type, torch.from_numpy(raw.copy()), rows, columns)
    assert bits(widen(planes)) == bits(decode(type, raw))


@pytest.mark.parametrize("name", ["Q4_K", "Q5_0", "Q6_K", "Q8_0", "IQ4_XS"])
def test_planes_are_worth_what_gguf_py_says(name: str) -> None:
    type = by_name(name)
    raw = blocks(type, rows=33)
    assert bits(widen(repack(type, torch.from_numpy(raw), 33, COLUMNS))) == bits(by_gguf_py(type, raw))


@pytest.mark.parametrize("type", PACKED, ids=repr)
def test_the_size_on_the_device_is_known_before(type: QuantType) -> None:
    planes = repack(type, torch.from_numpy(blocks(type, rows=40)), 40, COLUMNS)
    assert planes.nbytes == plane_bytes(type, 40, COLUMNS)


@pytest.mark.parametrize("name", ["Q4_K", "Q5_0", "Q6_K", "Q8_0"])
def test_a_changed_bit_of_a_code_changes_one_weight(name: str) -> None:
    type = by_name(name)
    raw = blocks(type, rows=32).view(type.layout)
    raw["d"] = 1.0
    raw["scales" if "scales" in (type.layout.names or ()) else "qs"] |= 1  # no scale is zero
    planes = repack(type, torch.from_numpy(raw.view(np.uint8)), 32, COLUMNS)
    codes = planes.codes.clone()
    codes[0, 3, 2, 5] ^= 1
    changed = widen(replace(planes, codes=codes))
    differing = (changed.view(torch.int32) != widen(planes).view(torch.int32)).nonzero().tolist()
    assert differing == [[5, 3 * 32 + 8]]  # row 5, group 3, the lowest byte of word 2


def test_pieces_of_rows_are_repacked_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    type = by_name("Q4_K")
    raw = torch.from_numpy(blocks(type, rows=100))
    whole = widen(repack(type, raw, 100, COLUMNS))
    monkeypatch.setattr("llorch.runtime.kernels.cuda.planes.PIECE_WEIGHTS", TILE * COLUMNS)
    assert bits(widen(repack(type, raw, 100, COLUMNS))) == bits(whole)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_joined_matrices_keep_their_rows(tiles: list[int], last: int) -> None:
    type = by_name("Q5_0")
    sizes = [*(TILE * count for count in tiles), last]
    parts = [repack(type, torch.from_numpy(blocks(type, rows, 64)), rows, 64) for rows in sizes]
    together = join_planes(parts)
    assert bits(widen(together)) == bits(torch.cat([widen(part) for part in parts]))
    assert bits(widen(together.tiles(sum(sizes[:-1]), sum(sizes)))) == bits(widen(parts[-1]))


def test_factors_of_rows_multiply_them() -> None:
    type = by_name("NVFP4")
    raw = torch.from_numpy(blocks(type, rows=4))
    factors = torch.tensor([1.0, 2.0, 0.5, 3.0])
    plain = widen(repack(type, raw, 4, COLUMNS))
    assert bits(widen(repack(type, raw, 4, COLUMNS, factors))) == bits(plain * factors[:, None])


@pytest.mark.parametrize("rounded", [torch.bfloat16, torch.float16])
def test_weights_are_rounded_once_when_they_are_loaded(
    device: torch.device, rounded: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llorch.runtime.gpu import transfer
    from llorch.runtime.gpu.matrix import FloatOnGpu

    monkeypatch.setattr(transfer, "ROUND_WEIGHTS", 2 * TILE * COLUMNS)
    type, raw = by_name("Q6_K"), blocks(by_name("Q6_K"), rows=100)

    def read(start: int, out: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
        out[:] = raw[start : start + len(out)]

    numbers = Numbers(torch.float32, device, rounded)
    matrix = transfer.packed_matrix(transfer.Uploader(device), numbers, type, 100, COLUMNS, read)
    assert isinstance(matrix, FloatOnGpu)
    expected = torch.from_numpy(decode(type, raw)).view(100, COLUMNS).to(rounded)
    assert bits(matrix.weights.float().cpu()) == bits(expected.float())
