"""The kernels of packed products against the same in float64, and against the definition of each type."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.full_size import random_blocks
from llorch.formats.quants import QuantType, by_name, decode
from llorch.runtime.kernels.cuda.planes import Planes, repack

ROWS, COLUMNS = 40, 256
TYPES = [
    "Q4_K",
    "Q5_0",
    "Q6_K",
    "Q8_0",
    "Q2_K",
    "Q5_1",
    "IQ4_XS",
]  # every width of codes, group and kind of scale


def matrix(name: str, device: torch.device) -> tuple[Planes, torch.Tensor]:
    """A packed matrix, and its weights by the type's definition."""
    type: QuantType = by_name(name)
    raw = random_blocks(type, ROWS * COLUMNS // type.weights, np.random.default_rng(3)).view(np.uint8)
    weights = torch.from_numpy(decode(type, raw)).view(ROWS, COLUMNS)
    return repack(type, torch.from_numpy(raw.copy()).to(device), ROWS, COLUMNS), weights


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.cpu().double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize(("fast", "allowed"), [(False, 1e-6), (True, 2e-2)])
def test_a_product_is_what_the_weights_give(
    name: str, fast: bool, allowed: float, device: torch.device
) -> None:
    from llorch.runtime.kernels.cuda import launch

    planes, weights = matrix(name, device)
    x = torch.randn((2, COLUMNS), generator=torch.Generator().manual_seed(1))
    cut = launch.Blocking(32, 8, 2, 2)
    y = torch.full((2, 2, ROWS), float("nan"), device=device)
    launch.packed_linear(planes, launch.pack(x.to(device), fast=fast), y, cut=cut)
    error = relative(y.sum(1), x.double() @ weights.double().T)
    assert error < allowed
    assert error > 1e-9 or not fast  # eight bits cannot be exact: then it was not the fast kernel


def test_rows_from_a_tile_on_are_those_of_the_whole(device: torch.device) -> None:
    from llorch.runtime.kernels.cuda import launch

    planes, weights = matrix("Q4_K", device)
    x = torch.randn((1, COLUMNS), generator=torch.Generator().manual_seed(2))
    bias = torch.arange(8, dtype=torch.float32)
    cut = launch.Blocking(16, 16, 4, 1)
    y = torch.full((1, 1, 8), float("nan"), device=device)
    ready = launch.pack(x.to(device), fast=False)
    launch.packed_linear(planes, ready, y, start=32, rows=8, bias=bias.to(device), cut=cut)
    assert relative(y[:, 0], x.double() @ weights[32:].double().T + bias) < 1e-6


@pytest.mark.slow  # interpreted, two seconds each
@pytest.mark.parametrize("name", TYPES)
def test_widened_rows_and_tiles_have_the_bits_of_the_definition(name: str, device: torch.device) -> None:
    from llorch.runtime.kernels.cuda import launch

    planes, weights = matrix(name, device)
    ids = torch.tensor([39, 0, 33, 33], device=device)
    rows = torch.full((4, COLUMNS), float("nan"), device=device)
    launch.widen_rows(planes, ids, rows)
    assert torch.equal(rows.cpu(), weights[ids.cpu()])
    assert torch.equal(launch.widen_tiles(planes, 32, 8, torch.float32).cpu(), weights[32:])
    half = torch.float16 if device.type == "cpu" else torch.bfloat16  # the interpreter cuts bfloat16 off
    assert torch.equal(launch.widen_tiles(planes, 0, ROWS, half).cpu(), weights.to(half))


def test_the_most_probable_token_of_a_row_is_the_first_of_the_largest(device: torch.device) -> None:
    from llorch.runtime.kernels.cuda import launch

    logits = torch.zeros(2, 5000, device=device)
    logits[0, [777, 778, 4999]] = 3.0
    logits[1, 4000] = 1.0
    never, scratch = torch.zeros_like(logits), torch.empty(2, launch.TOP_PROGRAMS, device=device)
    token = torch.zeros(2, dtype=torch.int64, device=device)
    position = torch.tensor([41, 7], device=device)
    launch.most_probable(logits, never, scratch, token, position)
    assert (token.tolist(), position.tolist()) == ([777, 4000], [42, 8])
    never[0, 777] = float("-inf")
    launch.most_probable(logits, never, scratch, token, position)
    assert (token.tolist(), position.tolist()) == ([778, 4000], [43, 9])
