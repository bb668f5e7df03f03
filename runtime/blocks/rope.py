"""Rotary position embeddings (RoPE): rotation of queries and keys by position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from llorch.runtime.traits import Rope, RotaryPairs


def rotation(rope: Rope, positions: Sequence[int], planned: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine, (positions, n_rot / 2) each, in `like`'s dtype and device.

    Angles are computed in float64 and cast once: a float32 angle is off by 1e-7 of a turn per position.
    planned: most positions of the sequence, which chooses between short and long frequencies.
    """
    frequencies = torch.tensor(rope.planned_for(planned), dtype=torch.float64)
    places = torch.tensor(positions, dtype=torch.float64)
    angles = places[:, None] * frequencies
    return (
        (angles.cos() * rope.scale).to(like.device, like.dtype),
        (angles.sin() * rope.scale).to(like.device, like.dtype),
    )


def rotate(x: Tensor, rope: Rope, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate x, (heads, positions, head_dim); channels beyond n_rot are unchanged. Returns x's shape."""
    first, second = _members(x, rope)
    turned = torch.empty_like(x)
    to_first, to_second = _members(turned, rope)
    to_first.copy_(first * cosine - second * sine)
    to_second.copy_(second * cosine + first * sine)
    turned[..., rope.n_rot :] = x[..., rope.n_rot :]
    return turned


def in_halves(x: Tensor, pairs: RotaryPairs, n_rot: int) -> Tensor:
    """x with its first n_rot channels in the order of `halves`, so that two readings can be compared.

    Also for layers without RoPE: a file may store their rows in the same order as the other layers'.
    """
    if pairs == "halves":
        return x
    return torch.cat([x[..., 0:n_rot:2], x[..., 1:n_rot:2], x[..., n_rot:]], dim=-1)


def _members(x: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
    """Views of the first and of the second members of all pairs."""
    if rope.pairs == "interleaved":
        return x[..., 0 : rope.n_rot : 2], x[..., 1 : rope.n_rot : 2]
    return x[..., : rope.n_rot // 2], x[..., rope.n_rot // 2 : rope.n_rot]
