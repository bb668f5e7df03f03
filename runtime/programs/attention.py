"""Attention as kernel steps, up to its output projection: projections, q and k norms, RoPE, cache, attention."""

from __future__ import annotations

from llorch.runtime.kernels.cpu.arguments import float_bits
from llorch.runtime.kernels.cpu.recorder import Floats
from llorch.runtime.programs.known import Unknown, product_of, require, require_known
from llorch.runtime.programs.steps import Steps
from llorch.runtime.traits import Heads, Traits
from llorch.runtime.weights import Attention


def attention(steps: Steps, index: int, weights: Attention, normed: Floats) -> Floats:
    """Record attention; return the rows (tokens, heads · head_dim) for the output projection."""
    require_known(weights)
    traits, recorder, shape = steps.traits, steps.recorder, steps.traits.mixer(index)
    if weights.k is None or weights.v is None or not isinstance(shape, Heads):
        raise Unknown(weights)
    q, mixed = (recorder.floats(name, shape.heads * shape.head_dim) for name in ("q", "mixed"))
    k, v = (recorder.floats(name, shape.kv_heads * shape.head_dim) for name in ("k", "v"))
    gate = recorder.floats("output gate", q.width) if traits.output_gate else None
    if gate is None:
        steps.multiply(normed, [(weights.q, q), (weights.k, k), (weights.v, v)])
    else:
        _gated_queries(steps, weights, shape, normed, q, gate)
        steps.multiply(normed, [(weights.k, k), (weights.v, v)])
    for norm, rows in ((weights.q_norm, q), (weights.k_norm, k)):
        if norm is not None and traits.head_norm == "head":
            steps.norm(norm, rows, rows, shape.head_dim)
        elif norm is not None:
            require(traits.head_norm == "row" and norm.weight is not None and norm.weight.dim() == 1)
            steps.norm(norm, rows, rows, rows.width)
    _rotate_and_mix(steps, index, shape, (q, k, v), mixed)
    if gate is None:
        return mixed
    steps.gate("sigmoid", gate, mixed)
    return gate


def _gated_queries(
    steps: Steps, weights: Attention, shape: Heads, normed: Floats, q: Floats, gate: Floats
) -> None:
    """Project each head's query and gate, whose rows are interleaved, into separate buffers."""
    calls = []
    for head in range(shape.heads):
        for part, target in enumerate((q, gate)):
            start = (2 * head + part) * shape.head_dim
            slots = {"y": target.address + 4 * head * shape.head_dim, "y_bytes": 4 * target.width}
            calls.append((product_of(weights.q, start, start + shape.head_dim), slots))
    steps.recorder.multiply(normed, calls)


def _rotate_and_mix(
    steps: Steps, index: int, shape: Heads, rows: tuple[Floats, Floats, Floats], mixed: Floats
) -> None:
    traits, rope = steps.traits, steps.traits.ropes[index]
    (q, k, v), place = rows, steps.tokens(index)
    slots = {
        "q": q.address, "k": k.address, "v": v.address, "heads": shape.heads, "kv_heads": shape.kv_heads,
        "head_dim": shape.head_dim, "tokens": place["tokens"], "layer": index,
    }  # fmt: skip
    if rope is not None:
        cosine, sine = steps.angles(rope)
        slots |= {"cosine": cosine.address, "sine": sine.address, "n_rot": rope.n_rot}
    pairs = "halves" if rope is None else rope.pairs
    steps.recorder.rotate(pairs, shape.heads + 2 * shape.kv_heads, slots)
    slots = {
        "q": q.address, "target": mixed.address, "kv_heads": shape.kv_heads, "group": shape.heads // shape.kv_heads,
        "window": traits.windows[index] or 0, "of_head": 1, "of_token": shape.heads,
    } | place | scores_of(traits)  # fmt: skip
    steps.recorder.attend(shape.head_dim, shape.heads, slots)


def scores_of(traits: Traits) -> dict[str, int]:
    """The kernel arguments for scaling and capping attention scores."""
    slots = {"scale": float_bits(traits.attention_scale)}
    if traits.attention_softcap is not None:
        slots["softcap"] = float_bits(traits.attention_softcap)
    return slots
