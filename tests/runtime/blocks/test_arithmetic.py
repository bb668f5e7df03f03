"""The decoder's blocks against their definitions written out, and against torch's own functions where there are any."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from llorch.runtime.blocks import attention
from llorch.runtime.blocks.attention import attend
from llorch.runtime.blocks.experts import choose_experts
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.blocks.rope import in_halves, rotate, rotation
from llorch.runtime.traits import Rope, RotaryPairs, Routing


def attention_by_definition(
    q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, cap: float | None
) -> Tensor:
    """Attention by its definition, position by position and head by head, in float64."""
    q, k, v = q.double(), k.double(), v.double()
    out, group, seen, new = torch.empty_like(q), len(q) // len(k), k.shape[1], q.shape[1]
    for head in range(len(q)):
        for i in range(new):
            position = seen - new + i
            first = 0 if window is None else max(0, position - window + 1)
            keys = k[head // group, first : position + 1]
            scores = keys @ q[head, i] * scale
            scores = scores if cap is None else cap * torch.tanh(scores / cap)
            out[head, i] = torch.softmax(scores, 0) @ v[head // group, first : position + 1]
    return out


@settings(deadline=None)
@given(
    new=st.integers(1, 9),
    past=st.integers(0, 9),
    group=st.integers(1, 3),
    window=st.none() | st.integers(1, 12),
    cap=st.none() | st.floats(1, 20),
    seed=st.integers(0, 99),
)
def test_attention_is_its_definition(
    new: int, past: int, group: int, window: int | None, cap: float | None, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    q = torch.randn(2 * group, new, 4, generator=random)
    k, v = torch.randn(2, 2, past + new, 4, generator=random)
    attended = attend(q, k, v, scale=0.7, window=window, softcap=cap)
    torch.testing.assert_close(
        attended.double(), attention_by_definition(q, k, v, 0.7, window, cap), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("window", [None, 3, 40])
@pytest.mark.parametrize("rows", [1, 2, 7, 64])
def test_attention_in_tiles_equals_attention_at_once(
    window: int | None, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = torch.Generator().manual_seed(1)
    q = torch.randn(2, 37, 8, generator=random)
    k, v = torch.randn(2, 1, 57, 8, generator=random)
    whole = attend(q, k, v, scale=0.3, window=window)
    monkeypatch.setattr(attention, "SCORE_BYTES", rows * 4 * 2 * 57)
    torch.testing.assert_close(attend(q, k, v, scale=0.3, window=window), whole, atol=1e-6, rtol=1e-5)


def test_attention_over_a_filled_cache_is_torchs_with_the_mask_written_out() -> None:
    random = torch.Generator().manual_seed(1)
    q = torch.randn(4, 37, 8, generator=random)
    k, v = torch.randn(2, 2, 57, 8, generator=random)
    mask = torch.arange(57) <= torch.arange(20, 57)[:, None]
    theirs = functional.scaled_dot_product_attention(
        q[None], k[None], v[None], mask[None, None], enable_gqa=True
    )
    ours = attend(q, k, v, scale=1 / math.sqrt(8))
    torch.testing.assert_close(ours, theirs[0], atol=1e-5, rtol=1e-5)


def rotated(rope: Rope, start: int, x: Tensor) -> Tensor:
    return rotate(x, rope, *rotation(rope, range(start, start + x.shape[1]), 1 << 20, x))


def test_a_pair_is_rotated_by_position_times_frequency() -> None:
    x = torch.tensor([[[1.0, 0.0, 5.0]]])
    rope = Rope(n_rot=2, pairs="interleaved", frequencies=(0.5,), scale=2.0)
    expected = [2 * math.cos(3.5), 2 * math.sin(3.5), 5.0]
    assert rotated(rope, 7, x)[0, 0].tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("pairs", ["interleaved", "halves"])
def test_scores_depend_only_on_the_distance(pairs: RotaryPairs) -> None:
    rope = Rope(n_rot=6, pairs=pairs, frequencies=(1.0, 0.1, 0.01))
    q, k = torch.randn(2, 1, 1, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    near = (rotated(rope, 5, q) * rotated(rope, 3, k)).sum()
    far = (rotated(rope, 100_005, q) * rotated(rope, 100_003, k)).sum()
    assert float(near) == pytest.approx(float(far), abs=1e-9)


def test_interleaved_and_halves_differ_only_in_the_order_of_channels() -> None:
    frequencies = (1.0, 0.3, 0.1)
    interleaved = Rope(n_rot=6, pairs="interleaved", frequencies=frequencies)
    halves = Rope(n_rot=6, pairs="halves", frequencies=frequencies)
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(3))
    assert in_halves(x, "interleaved", 6)[0, 0].tolist() == x[0, 0, [0, 2, 4, 1, 3, 5, 6, 7]].tolist()
    same = rotated(halves, 9, in_halves(x, "interleaved", 6))
    assert torch.equal(in_halves(rotated(interleaved, 9, x), "interleaved", 6), same)


def test_an_angle_at_a_large_position_is_exact_to_float32() -> None:
    rope = Rope(n_rot=2, pairs="halves", frequencies=(0.123456789,))
    cosine, _ = rotation(rope, range(1_000_003, 1_000_004), 1, torch.zeros(1))
    assert cosine.item() == np.float32(math.cos(1_000_003 * 0.123456789))


def test_the_norms_are_torchs() -> None:
    random = torch.Generator().manual_seed(4)
    x, weight, bias = (
        torch.randn(3, 7, generator=random),
        torch.randn(7, generator=random),
        torch.randn(7, generator=random),
    )
    layer = Norm("layer", 1e-5, weight, bias)(x)
    torch.testing.assert_close(layer, functional.layer_norm(x, (7,), weight, bias, 1e-5))
    rms = Norm("rms", 1e-5, weight)(x)
    torch.testing.assert_close(rms, functional.rms_norm(x, (7,), weight, 1e-5))


def test_ties_between_experts_go_by_index_and_renormalised_weights_sum_to_one() -> None:
    scores = torch.tensor([[0.0, 2.0, 2.0, 2.0]])
    weights, chosen = choose_experts(scores, Routing(experts=4, used=2, renormalised=True))
    assert chosen.tolist() == [[1, 2]]
    assert weights.tolist() == [[0.5, 0.5]]
    plain, _ = choose_experts(scores, Routing(experts=4, used=2, renormalised=False))
    assert plain.sum().item() == pytest.approx(2 * math.exp(2) / (1 + 3 * math.exp(2)))
