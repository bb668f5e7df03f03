"""Diagnosis of a fault from the first step at which two readings differ: which operation it is, and how it differs.

Both readings were given the same input to the layer, so the fault is in the first step that differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llorch.runtime import Linear

if TYPE_CHECKING:
    from llorch.runtime import Decoder

SAME = 1e-5  # relative RMS difference up to which two tensors count as equal

# Step → what is computed up to it, in words.
STEPS: Mapping[str, str] = {
    "embedding": "the rows of the embedding, or their scale",
    "attention_norm": "the norm before attention: its weights, offset or epsilon",
    "q": "the queries",
    "k": "the keys",
    "scores": "the products of queries and keys, which are not rotated: their weights, bias, norm or heads",
    "v": "the values: their weights or bias",
    "attention": "attention itself: scale, soft-cap, mask, window or the order of heads",
    "space": "the state space beside attention",
    "attention_output": "attention's output product, or the norm after it",
    "ffn_norm": "the norm before the feed-forward: its weights, offset or epsilon",
    "ffn_output": "the feed-forward",
    "output": "the sum of the branches, or its scale",
    "final_norm": "the final norm: its weights, offset or epsilon",
    "logits": "the output layer",
}


def explain(
    layer: int | None,
    step: str,
    source: Mapping[str, Tensor],
    folder: Mapping[str, Tensor],
    readings: tuple[Decoder, Decoder],
) -> str:
    """Return a sentence about the first step that differs. source, folder: each reading's step → value in the layer."""
    one, other = source[step], folder[step]
    if one.shape != other.shape:
        return f"{STEPS.get(step, step)}: shapes {list(one.shape)} and {list(other.shape)}"
    if step in ("q", "k"):
        return _explain_rotation(step, one, other)
    if step == "attention":
        return _explain_attention(one, other)
    # attention_norm for parallel branches with one norm
    fed = source.get("ffn_norm", source.get("attention_norm"))
    if step == "ffn_output" and layer is not None and fed is not None:
        return _explain_feed_forward(layer, fed, readings)
    if step == "embedding":
        rows = [row for row in range(len(one)) if not _equal(one[row], other[row])]
        return f"the embedding: {len(rows)} of {len(one)} positions differ" + _explain_scale(one, other)
    return STEPS.get(step, step) + _explain_scale(one, other)


def _explain_rotation(step: str, one: Tensor, other: Tensor) -> str:
    """Explain a difference of queries or keys, (heads, positions, channels).

    RoPE doesn't rotate position 0, so a difference there is in the weights, and one only after it in the rotation.
    """
    what = STEPS[step]
    if _equal(one[:, 0], other[:, 0]):
        channels = (one - other).abs().amax(dim=(0, 1))
        low, high = _extent(channels)
        return f"rope: {what} are equal at position 0 and turn by other angles after it, in channels {low} to {high}"
    flat, moved = one[:, 0].flatten().sort().values, other[:, 0].flatten().sort().values
    if _equal(flat, moved):
        return f"permutation: {what} of position 0 are the same numbers in another order: rows stand for other channels"
    heads = [head for head in range(len(one)) if not _equal(one[head], other[head])]
    which = f" of heads {', '.join(map(str, heads[:8]))}" if len(heads) < len(one) else ""
    return f"{what}{which}: their weights, bias or norm{_explain_scale(one, other)}"


def _explain_attention(one: Tensor, other: Tensor) -> str:
    """Explain a difference of attention's result, (positions, channels).

    A wrong window or mask leaves the first positions unchanged.
    """
    for position in range(len(one)):
        if not _equal(one[position], other[position]):
            if position > 0:
                return f"attention: equal at the first {position} positions: scale, mask or a window of {position}"
            break
    flat, moved = one[0].sort().values, other[0].sort().values
    if _equal(flat, moved):
        return "attention: at position 0 the same numbers in another order: heads are matched otherwise"
    return STEPS["attention"]


def _explain_feed_forward(layer: int, x: Tensor, readings: tuple[Decoder, Decoder]) -> str:
    """Explain a difference of a feed-forward by applying each of its products to the same input `x`."""
    one, other = (decoder.weights.layers[layer].ffn for decoder in readings)
    mine, theirs = _products(one, x), _products(other, x)
    gated = {"gate", "up"} <= mine.keys() & theirs.keys()
    if gated and _equal(mine["gate"], theirs["up"]) and _equal(mine["up"], theirs["gate"]):
        return "feed-forward: gate and up are exchanged"
    if "router" in mine and "router" in theirs and not _equal(mine["router"], theirs["router"]):
        if _equal(mine["router"].sort(-1).values, theirs["router"].sort(-1).values):
            return "router: the same scores in another order: experts are matched otherwise"
        return "router: its scores differ"
    for name in mine.keys() & theirs.keys():
        if not _equal(mine[name], theirs[name]):
            return f"feed-forward: the product with {name} differs"
    if "router" in mine:
        return "feed-forward: an expert, or how experts are weighed: the router's scores are equal"
    return "feed-forward: its activation or the product with down: what is before them is equal"


def _products(ffn: Any, x: Tensor) -> dict[str, Tensor]:
    """Apply the linear layers of a feed-forward that take its input to `x`; name → result."""
    found = {}
    for one in fields(ffn):
        value = getattr(ffn, one.name)
        if isinstance(value, Linear) and one.name != "down" and value.weight.columns == x.shape[-1]:
            found[one.name] = value(x)
    return found


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    scale = float(one.double().square().mean().sqrt())
    return float((one.double() - other.double()).square().mean().sqrt()) <= SAME * scale


def _explain_scale(one: Tensor, other: Tensor) -> str:
    """Return a clause if one tensor is a multiple of the other, as with a missing scale; else ""."""
    square = float((one.double() * one.double()).sum())
    factor = float((one.double() * other.double()).sum()) / square if square else 1.0
    if abs(factor - 1) > 1e-4 and _equal(one * factor, other):
        return f"; the folder's are {factor:.6g} times the source's"
    return ""


def _extent(channels: Tensor) -> tuple[int, int]:
    """Return the first and the last channel that differ."""
    at = torch.nonzero(channels > SAME * channels.max()).flatten().tolist()
    return (at[0], at[-1]) if at else (0, 0)
