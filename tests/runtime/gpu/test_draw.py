"""Tokens drawn from tensors against the sampler that draws from arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llorch.runtime.gpu.draw import draw_tokens, parameters
from llorch.runtime.sampling import Choice, Sampling, sample_token

SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.1, 0.7, 1.0, 1.5, 30.0]),
    top_k=st.sampled_from([0, 1, 2, 40, 10_000]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.9, 1.0]),
    seed=st.integers(0, 2**32),
)
CHOICES = st.builds(Choice, SAMPLINGS, st.integers(0, 1000))


@settings(max_examples=150, deadline=None)
@given(st.lists(CHOICES, min_size=1, max_size=4), st.integers(0, 1000), st.sampled_from([3, 500, 9000]))
def test_every_row_is_drawn_as_the_sampler_draws_it(choices: list[Choice], seed: int, size: int) -> None:
    random = np.random.default_rng(seed)
    logits = (4 * random.standard_normal((len(choices), size))).astype(np.float32)
    logits[:, :: 1 + seed % 5] = np.round(logits[:, :: 1 + seed % 5])  # equal ones
    logits[:, 1] = -np.inf
    how = parameters(choices, torch.from_numpy(logits))
    assert how is not None
    found = draw_tokens(torch.from_numpy(logits), how)
    expected = [
        sample_token(row, [0] * choice.step, choice.step, choice.sampling)
        for row, choice in zip(logits, choices, strict=True)
    ]
    assert found.tolist() == expected


def test_shares_of_draws_are_those_of_the_probabilities() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0]]).expand(4000, 3)
    choices = [Choice(Sampling(1.0, seed=seed)) for seed in range(4000)]
    how = parameters(choices, logits)
    assert how is not None
    shares = torch.bincount(draw_tokens(logits, how), minlength=3) / 4000
    assert shares.tolist() == pytest.approx(logits[0].softmax(-1).tolist(), abs=0.03)


def test_nothing_is_drawn_where_the_most_probable_is_taken() -> None:
    assert parameters([Choice(Sampling(top_k=3))], torch.zeros(1, 5)) is None
