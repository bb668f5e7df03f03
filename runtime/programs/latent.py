"""Multi-head latent attention as kernel steps: queries are projected to the latents, not latents to keys and values."""

from __future__ import annotations

from llorch.runtime.blocks.latent import HeadMatrices, LatentAttention
from llorch.runtime.blocks.linear import Linear
from llorch.runtime.kernels.cpu.recorder import Floats
from llorch.runtime.kernels.cpu.segments import Results, Segments, Stack, padding_multiple
from llorch.runtime.kernels.cpu.steps.latent import LATENT, latent_kernel
from llorch.runtime.kernels.cpu.steps.small_steps import LANES
from llorch.runtime.programs.attention import scores_of
from llorch.runtime.programs.known import Unknown, product_of, require, require_known
from llorch.runtime.programs.steps import Steps


def latent_attention(steps: Steps, index: int, mixer: LatentAttention, normed: Floats) -> Floats:
    """Record it up to the output projection; return the rows (tokens, heads · value) for that."""
    require_known(mixer)
    recorder, s, rope = steps.recorder, mixer.shape, steps.traits.ropes[index]
    if rope is None:
        raise Unknown(mixer)
    require(rope.n_rot == s.rope and steps.traits.windows[index] is None)
    require(s.rank % LANES == 0 and s.rope % LANES == 0)
    keys, values = _stack(mixer.up_keys, transposed=True), _stack(mixer.up_values, transposed=False)
    q = _queries(steps, mixer, normed)
    c, k_rope = recorder.floats("c", s.rank), recorder.floats("rope key", s.rope)
    parts = (product_of(mixer.down, 0, s.rank), c), (product_of(mixer.down, s.rank, s.rank + s.rope), k_rope)
    steps.multiply_parts(normed, parts)
    steps.norm(mixer.norm, c, c, s.rank)

    padded = -(-recorder.rows // padding_multiple(recorder)) * padding_multiple(recorder)
    segments = recorder.indices([n for head in range(s.heads) for n in (head, head * padded, recorder.rows)])
    heads = Segments(recorder, s.heads, s.heads * padded, segments, (keys, values))
    plain, queries, mixed = (
        heads.floats(name, width)
        for name, width in (
            ("plain queries", s.nope),
            ("queries", s.rank + s.rope),
            ("mixed latents", s.rank),
        )
    )
    place, (cosine, sine) = steps.tokens(index), steps.angles(rope)
    slots = {
        "q": q.address, "c": c.address, "turning": k_rope.address, "plain": plain.address, "queries": queries.address,
        "tokens": place["tokens"], "cosine": cosine.address, "sine": sine.address, "layer": index,
        "heads": s.heads, "nope": s.nope, "rope": s.rope, "rank": s.rank, "padded": padded,
    }  # fmt: skip
    items = recorder.rows * (s.heads + 1)
    recorder.small(f"latent-{rope.pairs}", lambda p: latent_kernel(p, rope.pairs), LATENT, slots, items)
    heads.multiply(recorder.operands(plain, [keys.first]), [(keys, Results.rows_of(queries))])
    slots = {
        "q": queries.address, "target": mixed.address, "kv_heads": 1, "group": s.heads,
        "of_head": padded, "of_token": 1,
    } | place | scores_of(steps.traits)  # fmt: skip
    recorder.attend(s.rank + s.rope, s.heads, slots, latent=s.rank)
    outputs = recorder.floats("mixer output", s.heads * s.value)
    # the heads' results are columns of each token's row
    results = Results(outputs.address, column=4 * outputs.width, first=0, matrix=4 * s.value)
    heads.multiply(recorder.operands(mixed, [values.first]), [(values, results)])
    return outputs


def _queries(steps: Steps, mixer: LatentAttention, normed: Floats) -> Floats:
    q = steps.recorder.floats("q", mixer.q.weight.rows)
    if mixer.q_down is not None and mixer.q_norm is not None:
        low = steps.recorder.floats("low queries", mixer.q_down.weight.rows)
        steps.multiply(normed, [(mixer.q_down, low)])
        steps.norm(mixer.q_norm, low, low, low.width)
        normed = low
    steps.multiply(normed, [(mixer.q, q)])
    return q


def _stack(matrices: HeadMatrices, *, transposed: bool) -> Stack:
    """All heads' matrices as one stack; Unknown if stored the other way round, since kernels multiply by rows."""
    require_known(matrices)
    require(matrices.transposed == transposed)
    first = product_of(Linear(matrices.rows), matrices.first, matrices.first + matrices.count)
    return Stack(first, matrices.each * first.blocks.row_bytes)
