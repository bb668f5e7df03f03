"""A folder's matrix is kept as stored if kernels multiply with it, and gives the same bits as the widened one."""

from __future__ import annotations

import pytest
import torch

from llorch.runtime.blocks.linear import Columns, Floating, Linear, Numbers

KEPT = Numbers(torch.float32, torch.device("cpu"), keep=True)
STORED = {torch.float32: 4, torch.bfloat16: 2, torch.float16: 2}


def floating(stored: torch.Tensor) -> Floating:
    return Floating(len(stored), stored.shape[1], KEPT, lambda start, stop: stored[start:stop].clone())


def drawn(rows: int, columns: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)).to(dtype)


@pytest.mark.parametrize("dtype", STORED, ids=str)
@pytest.mark.parametrize("rows", [1, 3, 5, 70])
def test_products_have_the_bits_of_the_widened_weights(dtype: torch.dtype, rows: int) -> None:
    stored, x = drawn(40, 96, dtype), drawn(rows, 96)
    matrix = floating(stored)
    blocks = matrix.blocks()
    assert blocks is not None
    assert blocks.raw.nbytes == STORED[dtype] * stored.numel()
    assert torch.equal(Linear(matrix)(x), Linear(floating(stored.float()))(x))
    torch.testing.assert_close(
        Linear(matrix)(x).double(), x.double() @ stored.double().T, rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_rows_are_the_stored_ones_before_and_after_a_product(dtype: torch.dtype) -> None:
    stored, ids = drawn(40, 96, dtype), torch.tensor([7, 0, 39, 7])
    matrix = floating(stored)
    assert torch.equal(matrix.rows_at(ids), stored[ids].float())
    matrix.materialize()
    assert torch.equal(matrix.rows_at(ids), stored[ids].float())
    assert torch.equal(matrix.dequantize(3, 9), stored[3:9].float())
    assert torch.equal(matrix.rows_at(ids), stored[ids].float())


def test_a_matrix_without_kernels_is_widened_once() -> None:
    for stored in (drawn(8, 40, torch.bfloat16), drawn(64, 32, torch.bfloat16)):
        asked = list[int]()

        def read(
            start: int, stop: int, stored: torch.Tensor = stored, asked: list[int] = asked
        ) -> torch.Tensor:
            asked.append(start)
            return stored[start:stop]

        matrix = Floating(len(stored), stored.shape[1], KEPT, read)
        linear = Linear(Columns(matrix, 0, 1, matrix.columns))
        linear.weight.materialize()
        for _ in range(3):
            linear(drawn(2, len(stored)))
        assert len(asked) == 1
