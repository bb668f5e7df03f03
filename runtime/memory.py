"""How much the runtime makes at a time, and what a model will take in memory by that."""

from __future__ import annotations

from dataclasses import dataclass

from llorch.runtime.traits import Traits

DEQUANTIZED_BYTES = (
    2 << 30
)  # folders up to this size in float32 are kept in memory: each token is then ten times faster
TILE_BYTES = 16 << 20  # of float32 weights made at a time: the allocator still reuses such a piece's pages
PREFILL_CHUNK = 512  # tokens of a prompt at a time, and between two looks at whether a request was cancelled
SCORE_BYTES = (
    16 << 20
)  # of attention scores made at a time: so many queries as fit, against all that they see


TOKEN_BYTES = 1000  # of a token in the tokenizers library: 49,152 tokens were measured at 45 to 75 MB


@dataclass(frozen=True, slots=True)
class HeldBytes:
    """What a loaded model holds, whatever is asked of it.

    weights: bytes in the form they are held in. whole: bytes of the largest tensor that is read whole before it
    is widened. widest: rows of a layer's widest matrix. tokens: of its tokenizer.
    """

    weights: int
    whole: int
    widest: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes beyond the interpreter and its libraries, for one request of so many positions.

    weights: in the form that they are held in. cache: keys and values. tokenizer: its vocabulary. scratch: the
    most that is made beside them at once. The last two are estimates.
    """

    positions: int
    weights: int
    cache: int
    tokenizer: int
    scratch: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.tokenizer + self.scratch


def memory_needed(traits: Traits, held: HeldBytes, positions: int) -> Memory:
    """What a request of so many positions, prompt and answer, takes."""
    rows = min(PREFILL_CHUNK, positions)
    activations = rows * (4 * traits.hidden_size + 3 * held.widest + 4 * traits.heads * traits.head_dim)
    if (
        traits.routing is not None
    ):  # a row for each of a token's experts, and what fills their kernels' columns
        pairs = rows * traits.routing.used
        activations += (pairs + 7 * min(pairs, traits.routing.experts)) * held.widest
    scores = 3 * min(SCORE_BYTES // 4, traits.heads * rows * positions)
    logits = 8 * traits.vocabulary_size
    return Memory(
        positions,
        held.weights,
        traits.cache_bytes(positions),
        held.tokens * TOKEN_BYTES,
        4 * (activations + scores + logits) + 2 * TILE_BYTES + held.whole,
    )
