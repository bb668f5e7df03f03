"""Sampling on the device, for several rows at once; draws the same tokens as `llorch.runtime.sampling`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from llorch.runtime.sampling import Choice, uniform


def parameters(choices: Sequence[Choice], like: Tensor) -> Tensor | None:
    """Sampling parameters, (5, rows) float64: temperature, top-k, top-p, min-p, and a uniform random number.

    None if all rows are greedy. like: the logits.
    """
    if not any(choice.sampling.temperature for choice in choices):
        return None
    rows = [
        (
            choice.sampling.temperature,
            choice.sampling.top_k or like.shape[-1],
            choice.sampling.top_p,
            choice.sampling.min_p,
            uniform(choice.sampling.seed, choice.step),
        )
        for choice in choices
    ]
    return torch.tensor(rows, dtype=torch.float64).T.to(like.device)


def draw_tokens(logits: Tensor, how: Tensor) -> Tensor:
    """Sample a token for each row, (rows,) int64; arbitrary where the temperature is 0.

    logits: (rows, vocabulary) float32, −∞ for forbidden ids. how: see `parameters`.
    """
    temperature, top_k, top_p, min_p, share = how[:, :, None]
    ordered, ids = torch.sort(logits, dim=-1, descending=True, stable=True)  # equal logits by ascending id
    scores = (ordered.double() - ordered[:, :1]) / torch.where(temperature > 0, temperature, 1.0)
    rank = torch.arange(logits.shape[-1], device=logits.device)
    weights = torch.where(rank < top_k, scores.exp(), 0.0)
    sums = weights.cumsum(-1)
    in_top_p = (top_p >= 1) | (sums - weights < top_p * sums[:, -1:])
    may = (rank < top_k) & in_top_p & (weights >= min_p * weights[:, :1])
    stays = may.sum(-1, keepdim=True).clamp(min=1)  # also if the logits are NaN
    wanted = share * sums.gather(-1, stays - 1)
    place = (sums <= wanted).sum(-1, keepdim=True).minimum(stays - 1)
    return ids.gather(-1, place)[:, 0]
