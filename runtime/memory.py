"""Sizes of the runtime's tiles and chunks, and the memory that a model needs because of them."""

from __future__ import annotations

from dataclasses import dataclass

from llorch.runtime.traits import Traits

# models up to this size in float32 stay dequantized: each token is then ten times faster
DEQUANTIZED_BYTES = 2 << 30
# of float32 weights dequantized at a time: small enough for the allocator to reuse the pages
TILE_BYTES = 16 << 20
PREFILL_CHUNK = 512  # prompt tokens per forward pass, and between two checks for cancellation
SCORE_BYTES = 16 << 20  # of attention scores computed at a time, for as many queries as fit


TOKEN_BYTES = 1000  # memory per token of the tokenizers library: 49,152 tokens were measured at 45 to 75 MB


@dataclass(frozen=True, slots=True)
class HeldBytes:
    """What a loaded model keeps in memory, whatever the request.

    weights: bytes, in the form they are held in. whole: bytes of the largest tensor that is read whole before it is
    dequantized. widest: rows of the widest matrix in a layer. tokens: of its tokenizer.
    """

    weights: int
    whole: int
    widest: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory for one request of `positions`, in bytes beyond the interpreter and its libraries.

    weights: in the form they are held in. cache: KV cache and states. tokenizer: its vocabulary. scratch: the most
    temporary memory at once. The last two are estimates.
    """

    positions: int
    weights: int
    cache: int
    tokenizer: int
    scratch: int

    @property
    def total(self) -> int:
        """The sum."""
        return self.weights + self.cache + self.tokenizer + self.scratch


def memory_needed(traits: Traits, held: HeldBytes, positions: int, *, by_programs: bool) -> Memory:
    """Memory for a request of this many positions, prompt and answer together.

    by_programs: the layers run as programs of CPU kernels, which dequantize and score within a core's cache.
    """
    rows = min(PREFILL_CHUNK, positions)
    activations = rows * (4 * traits.hidden_size + 3 * held.widest + 4 * traits.heads * traits.head_dim)
    # a row for each of a token's experts, and padding to their kernels' columns
    if traits.routing is not None:
        pairs = rows * traits.routing.used
        activations += (pairs + 7 * min(pairs, traits.routing.experts)) * held.widest
    logits = 8 * traits.vocabulary_size
    scratch = 4 * (activations + logits) + held.whole
    if not by_programs:
        scratch += 3 * min(SCORE_BYTES, 4 * traits.heads * rows * positions) + 2 * TILE_BYTES
    return Memory(
        positions,
        held.weights,
        traits.cache_bytes(positions),
        held.tokens * TOKEN_BYTES,
        scratch,
    )
