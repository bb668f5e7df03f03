"""What the decoder needs to know of a model: its shape and arithmetic, independent of the file format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

RotaryPairs = Literal["interleaved", "halves"]
NormKind = Literal["rms", "layer"]
Activation = Literal["silu", "gelu_tanh", "gelu", "relu2", "clamped_swiglu", "xielu"]
Scores = Literal["softmax", "sigmoid", "softmax of the chosen", "sparse mixer"]
FfnKind = Literal["dense", "mixture", "dense and mixture", "none"]


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary position embedding (RoPE) of the first `n_rot` channels of every head.

    pairs: which channels are rotated together: (2i, 2i + 1), or (i, i + n_rot / 2).
    frequencies: radians per position of each pair, n_rot / 2 of them, float64.
    scale: factor on cosine and sine, so that attention scores carry its square.
    long_frequencies, original_context: a sequence planned for more than `original_context` positions uses these
        frequencies instead, from its first token on (LongRoPE).
    """

    n_rot: int
    pairs: RotaryPairs
    frequencies: tuple[float, ...]
    scale: float = 1.0
    long_frequencies: tuple[float, ...] | None = None
    original_context: int = 0

    def planned_for(self, positions: int) -> tuple[float, ...]:
        """The frequencies for a sequence that may reach this many positions."""
        if self.long_frequencies is not None and positions > self.original_context:
            return self.long_frequencies
        return self.frequencies


@dataclass(frozen=True, slots=True)
class Routing:
    """How a mixture of experts routes: the `used` experts with the largest scores, ties by index.

    scores: softmax or sigmoid of the router's output over all experts; or softmax over the chosen ones only; or
        "sparse mixer": each chosen expert in turn is weighed by a softmax over those not chosen before whose score lies
        within twice `jitter` of the best, relative to the larger of both.
    renormalised: whether the chosen weights are divided by their sum. scale: factor on the weights after that.
    groups, groups_used: experts are divided into `groups`, and only the best `groups_used` are eligible; a group is
        ranked by the sum of its two best scores, or by its best one (`group_worth`).
    weighs_input: the weight multiplies an expert's input instead of its output.
    shared_scale: factor on the shared experts' output.
    """

    experts: int
    used: int
    renormalised: bool
    scores: Scores = "softmax"
    scale: float = 1.0
    groups: int = 1
    groups_used: int = 1
    group_worth: Literal["two best", "best"] = "two best"
    weighs_input: bool = False
    jitter: float = 0.0
    shared_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Heads:
    """The head counts and head widths of one layer's attention.

    value_dim: width of a value, if it is not that of a key.
    """

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int | None = None

    @property
    def value_width(self) -> int:
        """Width of a value."""
        return self.head_dim if self.value_dim is None else self.value_dim


@dataclass(frozen=True, slots=True)
class DeltaNet:
    """A gated delta net: linear attention with a matrix as state for each value head."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    taps: int

    @property
    def channels(self) -> int:
        """Channels of its convolution: queries, keys and values."""
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of its state: the convolution's last inputs, and a matrix per value head."""
        return (self.taps - 1, self.channels), (self.value_heads, self.key_dim, self.value_dim)


@dataclass(frozen=True, slots=True)
class Mamba2:
    """A Mamba 2 state space model: a state matrix per head, with B and C shared by groups of heads.

    least_step: lower bound of the time step.
    """

    heads: int
    head_dim: int
    groups: int
    state: int
    taps: int
    least_step: float = 0.0

    @property
    def inner(self) -> int:
        """Channels of all heads together."""
        return self.heads * self.head_dim

    @property
    def channels(self) -> int:
        """Channels of its convolution: x, B and C."""
        return self.inner + 2 * self.groups * self.state

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of its state: the convolution's last inputs, and a matrix per head."""
        return (self.taps - 1, self.channels), (self.heads, self.head_dim, self.state)


@dataclass(frozen=True, slots=True)
class Mamba:
    """A Mamba (version 1) state space model: a state vector per channel.

    eps: of the weightless RMS norms on the low-rank time step, B and C; None if they are not normed.
    """

    inner: int
    rank: int
    state: int
    taps: int
    eps: float | None = None

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of its state: the convolution's last inputs, and a vector per channel."""
        return (self.taps - 1, self.inner), (self.inner, self.state)


@dataclass(frozen=True, slots=True)
class ShortConv:
    """A short causal convolution between two gates (LFM2)."""

    width: int
    taps: int

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of its state: the convolution's last inputs."""
        return ((self.taps - 1, self.width),)


@dataclass(frozen=True, slots=True)
class Latent:
    """Multi-head latent attention: keys and values are projections of a latent vector of `rank`.

    rope: channels of queries and keys with RoPE, which all heads' keys share.
    nope: channels without. value: channels of a head's value.
    """

    heads: int
    rank: int
    nope: int
    rope: int
    value: int


@dataclass(frozen=True, slots=True)
class HeadsAndSpace:
    """Attention and a state space model in parallel: both read the layer's input, and their outputs are added."""

    heads: Heads
    space: Mamba2


@dataclass(frozen=True, slots=True)
class NoMixer:
    """A layer without a mixer, only a feed-forward network."""


Recurrent = DeltaNet | Mamba2 | Mamba | ShortConv
SingleMixer = Heads | Recurrent | Latent | NoMixer
Mixer = SingleMixer | HeadsAndSpace


def parts(mixer: Mixer) -> tuple[SingleMixer, ...]:
    """The mixers of a layer that run in parallel; for every other kind, the mixer itself."""
    return (mixer.heads, mixer.space) if isinstance(mixer, HeadsAndSpace) else (mixer,)


def common_heads(mixers: Sequence[Mixer], heads: int) -> Heads:
    """The heads that represent a model with differing layers: those of its first attention, else `heads` of width 0."""
    for single in (part for mixer in mixers for part in parts(mixer)):
        if isinstance(single, Heads):
            return single
        if isinstance(single, Latent):
            return Heads(single.heads, single.heads, single.rope)
    return Heads(heads, heads, 0)


@dataclass(frozen=True, slots=True)
class Temperature:
    """Scale of queries by position: 1 + beta · ln(1 + ⌊(position + offset) / context⌋), applied after RoPE.

    unrotated_only: only in layers without RoPE.
    """

    beta: float
    context: int
    offset: int = 0
    unrotated_only: bool = False


@dataclass(frozen=True, slots=True)
class Streams:
    """Several hidden states per position (AltUp, Gemma 3n): a layer computes one, predicts all, then corrects them.

    active: index of the stream that a layer computes.
    """

    count: int
    active: int


@dataclass(frozen=True, slots=True)
class Traits:
    """A decoder's shape and arithmetic.

    pairs: the order of a head's channels, as in `Rope`; also set for layers without RoPE.
    norm_offset: added to every norm's weight when it is applied (1.0 where the weight is stored around zero).
    head_norm: RMS or layer norm (as `norm`) of queries and keys before RoPE: over each head, or over the
        whole row before it is split into heads.
    parallel: x + attention(n(x)) + ffn(n(x)); otherwise the feed-forward network reads x + attention(n(x)).
        two_norms: with `parallel`, the feed-forward network has a norm of its own over x.
    windows, ropes: one entry per layer; a window counts the positions that a query sees, itself included.
    chunks: per layer, the size of the chunks that attention does not cross, or None; empty if no layer has any.
    alibi: largest exponent of the ALiBi slopes: the last head's slope is 2 to the power of −alibi; 0 is no ALiBi.
    learned_positions: a learned position embedding is added to the token's. embedding_norm: that sum is normed.
    qkv_clamp: queries, keys and values are clamped to ± this.
    mixers: each layer's mixer, unless all are attention with `heads`, `kv_heads` and `head_dim`. ffns: the kind of each
        layer's feed-forward network, unless all are alike.
    keys_from: the layer whose keys and values a layer reads, unless each reads its own.
    output_gate: attention's output is multiplied by the sigmoid of a gate, or by its softplus (`softplus_gate`); there
        is one gate per channel, or per head (`head_gate`).
    sinks: each head's softmax has one more logit, which takes weight but has no value.
    value_scale: factor on values.
    sub_norms: attention's output and the feed-forward network's gated activations are normed before their last
        projection.
    value_norm: values are RMS-normed without a weight. head_norm_after_rope: queries and keys are normed after RoPE.
    plain_head_norm: that norm has no weight, and only layers with RoPE have it.
    streams: several hidden states per position (AltUp). sparsity: per layer, the number of standard deviations above
        the mean below which a gate counts as 0, or None; empty if no layer has any.
    layer_embedding: width of the per-layer token embeddings; 0 is none.
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
    pairs: RotaryPairs = "halves"
    head_norm: Literal["head", "row"] | None = None
    parallel: bool = False
    routing: Routing | None = None
    mixers: tuple[Mixer, ...] = ()
    ffns: tuple[FfnKind, ...] = ()
    keys_from: tuple[int, ...] = ()
    output_gate: bool = False
    softplus_gate: bool = False
    head_gate: bool = False
    sinks: bool = False
    value_norm: bool = False
    value_scale: float = 1.0
    sub_norms: bool = False
    head_norm_after_rope: bool = False
    layer_embedding: int = 0
    two_norms: bool = False
    chunks: tuple[int | None, ...] = ()
    alibi: float = 0.0
    learned_positions: bool = False
    embedding_norm: bool = False
    qkv_clamp: float | None = None
    plain_head_norm: bool = False
    streams: Streams | None = None
    sparsity: tuple[float | None, ...] = ()
    temperature: Temperature | None = None
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    attention_softcap: float | None = None
    logit_softcap: float | None = None

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return len(self.ropes)

    def mixer(self, layer: int) -> Mixer:
        """The mixer of a layer."""
        return self.mixers[layer] if self.mixers else Heads(self.heads, self.kv_heads, self.head_dim)

    def heads_of(self, layer: int) -> Heads:
        """The attention heads of a layer that has attention, alone or beside a state space model."""
        (heads,) = (part for part in parts(self.mixer(layer)) if isinstance(part, Heads))
        return heads

    def keys_of(self, layer: int) -> int:
        """The layer whose keys and values this layer reads."""
        return self.keys_from[layer] if self.keys_from else layer

    def cached_numbers(self, layer: int, positions: int) -> int:
        """How many numbers a layer caches for this many positions."""
        return sum(self._cached_by(part, layer, positions) for part in parts(self.mixer(layer)))

    def _cached_by(self, mixer: SingleMixer, layer: int, positions: int) -> int:
        match mixer:
            case Heads() as heads:
                width = heads.kv_heads * (heads.head_dim + heads.value_width)
                return width * positions if self.keys_of(layer) == layer else 0
            case Latent() as latent:
                return (latent.rank + latent.rope) * positions
            case NoMixer():
                return 0
            case recurrent:
                return sum(math.prod(shape) for shape in recurrent.state_shapes)

    def cache_bytes(self, positions: int, itemsize: int = 4) -> int:
        """Bytes of the whole cache for this many positions."""
        return itemsize * sum(self.cached_numbers(layer, positions) for layer in range(self.n_layers))
