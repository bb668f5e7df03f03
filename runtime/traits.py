"""What the decoder needs to know of a model: values, whatever format and whatever name they came under."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RotaryPairs = Literal["interleaved", "halves"]
NormKind = Literal["rms", "layer"]
Activation = Literal["silu", "gelu_tanh", "gelu"]


@dataclass(frozen=True, slots=True)
class Rope:
    """A rotary embedding of the first `n_rot` channels of every head.

    pairs: the channels that turn together: (2i, 2i + 1), or (i, i + n_rot / 2).
    frequencies: radians per position of each pair, n_rot / 2 of them, in double precision.
    scale: factor on cosine and sine, so that scores carry its square.
    long_frequencies, original_context: a sequence planned for more positions than `original_context` turns by
        these instead, from its first token on.
    """

    n_rot: int
    pairs: RotaryPairs
    frequencies: tuple[float, ...]
    scale: float = 1.0
    long_frequencies: tuple[float, ...] | None = None
    original_context: int = 0

    def planned_for(self, positions: int) -> tuple[float, ...]:
        """The frequencies of a sequence that may grow to so many positions."""
        if self.long_frequencies is not None and positions > self.original_context:
            return self.long_frequencies
        return self.frequencies


@dataclass(frozen=True, slots=True)
class Routing:
    """How a mixture chooses: softmax over all experts, the `used` largest, ties by index.

    renormalised: whether the chosen weights are divided by their sum.
    """

    experts: int
    used: int
    renormalised: bool


@dataclass(frozen=True, slots=True)
class Traits:
    """A decoder's shape and arithmetic.

    norm_offset: added to every norm's weight when it is applied (1.0 where the weight is stored around zero).
    head_norm: RMS or layer norm (as `norm`) of queries and keys before rotation: over each head, or over the
        whole row before it is split into heads.
    parallel: x + attention(n(x)) + ffn(n(x)); otherwise the feed-forward reads the attention's sum.
    windows, ropes: one entry a layer; a window counts positions that a query sees, itself included.
    logit_scale: multiplies the logits, before `logit_softcap`.
    """

    vocabulary_size: int
    hidden_size: int
    n_ctx: int
    heads: int
    kv_heads: int
    head_dim: int
    norm: NormKind
    norm_eps: float
    activation: Activation
    windows: tuple[int | None, ...]
    ropes: tuple[Rope | None, ...]
    attention_scale: float
    norm_offset: float = 0.0
    head_norm: Literal["head", "row"] | None = None
    parallel: bool = False
    routing: Routing | None = None
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    attention_softcap: float | None = None
    logit_softcap: float | None = None

    @property
    def n_layers(self) -> int:
        """How many blocks there are."""
        return len(self.ropes)

    def cache_bytes(self, positions: int, itemsize: int = 4) -> int:
        """Bytes of keys and values of so many positions."""
        return 2 * self.n_layers * self.kv_heads * self.head_dim * positions * itemsize
