"""Attention over the KV cache: causal, grouped-query, with sliding windows, soft-caps, sinks and ALiBi."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from llorch.runtime.memory import SCORE_BYTES
from llorch.runtime.traits import Temperature


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    chunk: int | None = None,
    slopes: Tensor | None = None,
    position: Tensor | None = None,
) -> Tensor:
    """Causal attention of the newest positions over everything cached.

    q: (heads, new, head_dim); k: (kv_heads, seen, head_dim), v: (kv_heads, seen, value_dim), kv_heads divides heads,
    seen ≥ new; query i is at position seen − new + i. Returns (heads, new, value_dim).
    window: how many positions back a query sees, itself included; None is all.
    softcap: c · tanh(s / c) of the scaled scores, before the mask. sinks: (heads,), an extra logit in each head's
    softmax without a value. chunk: a query sees no key of an earlier chunk of this many positions. slopes: (heads,),
    subtracted from a score per position of distance (ALiBi). position: (1,), on the device, of the single query; keys
    beyond it are allocated memory and are masked.

    torch's own `is_causal` is not used: it aligns the triangle to the upper left, so that with a filled cache
    the newest tokens would see the oldest keys only.
    """
    heads, new, head_dim = q.shape
    value_dim = v.shape[-1]
    kv_heads, seen, _ = k.shape
    out = q.new_empty((heads, new, value_dim))
    tile = max(1, SCORE_BYTES // (4 * heads * seen))
    for start in range(0, new, tile):
        stop = min(start + tile, new)
        newest = seen - new + stop  # positions before this exist for the tile's last query
        first = newest - (stop - start)  # the position of the tile's first query
        oldest = 0 if window is None or position is not None else max(0, first - window + 1)
        oldest = oldest if chunk is None or position is not None else max(oldest, first // chunk * chunk)
        # query head h reads the keys of h // group: stack each group's queries as rows of one product
        queries = q[:, start:stop].reshape(kv_heads, -1, head_dim)
        scores = (queries @ k[:, oldest:newest].transpose(1, 2)) * scale
        if softcap is not None:
            scores = (scores / softcap).tanh_() * softcap
        by_head = scores.view(heads, stop - start, -1)
        # a single newest query sees every key: no mask needed
        some = stop - start > 1 or position is not None
        if some or slopes is not None:
            key = torch.arange(oldest, newest, device=q.device)[None, :]
            query = torch.arange(first, newest, device=q.device) if position is None else position
            query = query[:, None]
        if slopes is not None:
            by_head.sub_(slopes[:, None, None] * (query - key).to(q.dtype))
        if some:
            by_head.masked_fill_(~_visible(query, key, window, chunk), float("-inf"))
        weights = _softmax(scores, sinks, stop - start)
        out[:, start:stop] = (weights @ v[:, oldest:newest]).view(heads, stop - start, value_dim)
    return out


def gated(rows: Tensor, gate: Tensor, *, softplus: bool) -> Tensor:
    """Attention's output, (positions, heads · head_dim), multiplied by the sigmoid or the softplus of its gate.

    gate: the shape of `rows`, or (positions, heads).
    """
    through = functional.softplus(gate) if softplus else torch.sigmoid(gate)
    if gate.shape == rows.shape:
        return rows * through
    return (rows.view(*gate.shape, -1) * through[:, :, None]).view(rows.shape)


def _softmax(scores: Tensor, sinks: Tensor | None, queries: int) -> Tensor:
    """Softmax over the keys of (kv_heads, group · queries, keys); with sinks the weights sum to less than 1."""
    if sinks is None:
        return torch.softmax(scores, dim=-1)
    column = sinks.view(len(scores), -1, 1).expand(-1, -1, queries).reshape(len(scores), -1, 1)
    return torch.softmax(torch.cat([scores, column], dim=-1), dim=-1)[..., :-1]


def _visible(query: Tensor, key: Tensor, window: int | None, chunk: int | None) -> Tensor:
    """Mask (queries, keys) of the keys that each query sees, from their positions."""
    visible = key <= query
    visible = visible if window is None else visible & (key > query - window)
    return visible if chunk is None else visible & (query // chunk == key // chunk)


def alibi_slopes(heads: int, largest: float, like: Tensor) -> Tensor:
    """ALiBi slopes, (heads,): what each head's score loses per position between query and key.

    For a power of two of heads, head i has slope 2 to the power of −largest · (i + 1) / heads; further heads have the
    exponents that lie between. Sources: ggml, ops.cpp, `ggml_compute_forward_soft_max_f32`; transformers, models/bloom
    and models/mpt.
    """
    whole = 1 << (heads.bit_length() - 1)
    powers = [largest * (head + 1) / whole for head in range(whole)]
    powers += [largest * (2 * head + 1) / (2 * whole) for head in range(heads - whole)]
    return torch.tensor([2.0**-power for power in powers], dtype=torch.float64).to(like.device, like.dtype)


def query_scales(temperature: Temperature, positions: Sequence[int], like: Tensor) -> Tensor:
    """Query scales, (rows, 1) in `like`'s dtype and device: 1 + beta · ln(1 + ⌊(position + offset) / context⌋)."""
    whole = [(position + temperature.offset) // temperature.context for position in positions]
    scales = [1 + temperature.beta * math.log1p(count) for count in whole]
    return torch.tensor(scales, dtype=torch.float64).to(like.device, like.dtype)[:, None]
