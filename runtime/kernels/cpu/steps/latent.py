"""The kernel between the products of latent attention: splits queries, applies RoPE, stores latents in the cache."""

from __future__ import annotations

from typing import Literal

from llvmlite import ir

from llorch.formats.vector_code import FLOAT, INDEX
from llorch.runtime.kernels.cpu.arguments import ARGUMENTS, START, STOP, Table
from llorch.runtime.kernels.cpu.emit import Emitter
from llorch.runtime.kernels.cpu.processor import Processor
from llorch.runtime.kernels.cpu.steps.small_steps import (
    NAME,
    TOKEN,
    TOKEN_BYTES,
    cached_address,
    rotate_pairs,
)

# Items are a token's heads and then its latent vector, token by token. q: (tokens, heads, nope + rope).
# c: (tokens, rank). turning: (tokens, rope), the key before RoPE. plain: (heads, padded, nope), receives the queries'
# channels without RoPE. queries: (heads, padded, rank + rope), of which the channels with RoPE are written. cosine,
# sine: rope / 2 float32 per token.
LATENT = Table(
    "q", "c", "turning", "plain", "queries", "tokens", "cosine", "sine", "layer", "heads", "nope", "rope", "rank",
    "padded",
)  # fmt: skip


def latent_kernel(processor: Processor, pairs: Literal["interleaved", "halves"]) -> str:
    """The LLVM module: copies query channels without RoPE, rotates the others, caches the latent and rotated key."""
    emit = Emitter(ir.Module(f"latent-{pairs}"), NAME, ARGUMENTS, processor)
    q, c, turning, plain, queries, tokens, cosine, sine, layer, heads, nope, rope, rank, padded = (
        LATENT.read(emit, name) for name in LATENT.names
    )
    half = emit.wrap(emit.builder.lshr(rope.ir, emit.index(1).ir))
    every, latent_bytes = heads + 1, (rank + rope) * 4
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as number:
        place = emit.wrap(emit.builder.udiv(number.ir, every.ir))
        head, token = number - place * every, tokens + place * TOKEN_BYTES
        position = emit.load(token, INDEX, offset=8 * TOKEN.slot("position"))
        kept, row = cached_address(emit, token, layer) + position * latent_bytes, head * padded + place
        of_query = emit.less(head, heads)
        own = q + (place * heads + head) * (nope + rope) * 4
        source = of_query.choose(own, c + place * rank * 4)
        target = of_query.choose(plain + row * nope * 4, kept)
        with emit.loop(emit.index(0), of_query.choose(nope, rank)) as channel:
            emit.store(emit.load(source + channel * 4, FLOAT), target + channel * 4)
        moved = (
            of_query.choose(own + nope * 4, turning + place * rope * 4),
            of_query.choose(queries + row * latent_bytes, kept) + rank * 4,
        )
        angle = place * half * 4
        rotate_pairs(emit, pairs, moved, (cosine + angle, sine + angle), half, half)
    emit.ret()
    return str(emit.module)
