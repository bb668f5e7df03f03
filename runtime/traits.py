"""What the decoder needs to know of a model: values, whatever format and whatever name they came under."""

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
    """How a mixture chooses: the `used` largest scores of all experts, ties by index.

    scores: softmax or sigmoid of the router's output over all experts, or softmax over those that it chose; or, as a
        sparse mixer has it, each one chosen has its share of a softmax over those not chosen before that are near it:
        within twice `jitter` of the larger of both.
    renormalised: whether the chosen weights are divided by their sum. scale: what they are multiplied by then.
    groups, groups_used: experts stand in so many groups, and come from the best of them only; a group's worth is the
        sum of its two best scores, or its best one (`group_worth`).
    weighs_input: an expert's weight multiplies what it is given, where others' multiplies what it gives.
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


@dataclass(frozen=True, slots=True)
class Heads:
    """Of one layer's attention."""

    heads: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class DeltaNet:
    """A gated delta net: linear attention whose state is a matrix for each value head."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    taps: int

    @property
    def channels(self) -> int:
        """Of what its convolution runs over: queries, keys and values."""
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """What it keeps of the past: the convolution's last inputs, and a matrix for each value head."""
        return (self.taps - 1, self.channels), (self.value_heads, self.key_dim, self.value_dim)


@dataclass(frozen=True, slots=True)
class Mamba2:
    """A state space of Mamba 2's kind: a matrix for each head, inputs and outputs shared by groups of them.

    least_step: what a smaller step counts as.
    """

    heads: int
    head_dim: int
    groups: int
    state: int
    taps: int
    least_step: float = 0.0

    @property
    def inner(self) -> int:
        """Channels of all heads."""
        return self.heads * self.head_dim

    @property
    def channels(self) -> int:
        """Of what its convolution runs over: x, B and C."""
        return self.inner + 2 * self.groups * self.state

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """What it keeps of the past: the convolution's last inputs, and a matrix for each head."""
        return (self.taps - 1, self.channels), (self.heads, self.head_dim, self.state)


@dataclass(frozen=True, slots=True)
class Mamba:
    """A state space of the first Mamba's kind: a vector for each channel.

    eps: of the norms, without a weight, of the step's low rank, B and C; None where they are not normed.
    """

    inner: int
    rank: int
    state: int
    taps: int
    eps: float | None = None

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """What it keeps of the past: the convolution's last inputs, and a vector for each channel."""
        return (self.taps - 1, self.inner), (self.inner, self.state)


@dataclass(frozen=True, slots=True)
class ShortConv:
    """A short convolution between two gates."""

    width: int
    taps: int

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """What it keeps of the past: the convolution's last inputs."""
        return ((self.taps - 1, self.width),)


@dataclass(frozen=True, slots=True)
class Latent:
    """Attention whose keys and values are made of a latent vector of `rank`, beside `rope` channels that are rotated.

    nope: channels of queries and keys that are not rotated. value: channels of a head's value.
    """

    heads: int
    rank: int
    nope: int
    rope: int
    value: int


@dataclass(frozen=True, slots=True)
class HeadsAndSpace:
    """Attention and a state space side by side: both read the layer's input, and what they give is added."""

    heads: Heads
    space: Mamba2


@dataclass(frozen=True, slots=True)
class NoMixer:
    """A layer that is a feed-forward network alone."""


Recurrent = DeltaNet | Mamba2 | Mamba | ShortConv
SingleMixer = Heads | Recurrent | Latent | NoMixer
Mixer = SingleMixer | HeadsAndSpace


def parts(mixer: Mixer) -> tuple[SingleMixer, ...]:
    """The mixers that stand side by side in a layer; of every other kind the mixer itself."""
    return (mixer.heads, mixer.space) if isinstance(mixer, HeadsAndSpace) else (mixer,)


def common_heads(mixers: Sequence[Mixer], heads: int) -> Heads:
    """The heads that speak for a model whose layers differ: of its first attention; else so many without width."""
    for single in (part for mixer in mixers for part in parts(mixer)):
        if isinstance(single, Heads):
            return single
        if isinstance(single, Latent):
            return Heads(single.heads, single.heads, single.rope)
    return Heads(heads, heads, 0)


@dataclass(frozen=True, slots=True)
class Temperature:
    """Queries are multiplied by 1 + beta · ln(1 + ⌊(position + offset) / context⌋), after rotation.

    unrotated_only: in those layers alone that do not rotate.
    """

    beta: float
    context: int
    offset: int = 0
    unrotated_only: bool = False


@dataclass(frozen=True, slots=True)
class Streams:
    """Several hidden states of one position: a layer computes one, predicts all before it and corrects them after it.

    active: which one a layer computes.
    """

    count: int
    active: int


@dataclass(frozen=True, slots=True)
class Traits:
    """A decoder's shape and arithmetic.

    pairs: the order of a head's channels, as in `Rope`, which layers have too that do not rotate.
    norm_offset: added to every norm's weight when it is applied (1.0 where the weight is stored around zero).
    head_norm: RMS or layer norm (as `norm`) of queries and keys before rotation: over each head, or over the
        whole row before it is split into heads.
    parallel: x + attention(n(x)) + ffn(n(x)); otherwise the feed-forward reads the attention's sum. two_norms: beside
        it, the feed-forward has a norm of its own, over x.
    windows, ropes: one entry a layer; a window counts positions that a query sees, itself included. chunks: where a
        layer's attention stays within the query's own chunk of so many positions; none is no layer's.
    alibi: scores lose a share of the distance, which goes from head to head down to 2 to the power of −alibi; 0: none.
    learned_positions: the embedding of each position is added to the token's. embedding_norm: that sum is normed.
    qkv_clamp: queries, keys and values stay within ± this.
    mixers: what mixes positions in each layer, where that is not attention with `heads`, `kv_heads` and `head_dim` in
        all of them. ffns: the kind of each layer's feed-forward network, where they are not all of one kind.
    keys_from: the layer whose keys and values a layer reads, where that is not each its own.
    output_gate: attention's result is multiplied by the sigmoid of a gate.
    sinks: each head's softmax has one more logit, which takes its share and gives nothing.
    value_norm: values are RMS-normed without a weight. head_norm_after_rope: queries and keys are normed when rotated.
    plain_head_norm: that norm has no weight, and is in those layers alone that rotate.
    streams: hidden states of a position, where there is more than one. sparsity: of each layer, how many standard
        deviations above the mean a gate has to be, lest it count as none; none where no gate has to.
    layer_embedding: width of the embedding that each layer has of every token; 0 is none.
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
    sinks: bool = False
    value_norm: bool = False
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
        """How many blocks there are."""
        return len(self.ropes)

    @property
    def is_plain(self) -> bool:
        """Whether every layer is attention and one feed-forward network or mixture, each as the fields before say.

        What computes a step by a way of its own asks this first: all else is the decoder's alone.
        """
        routed = self.routing is None or (self.routing.scores == "softmax" and self.routing.scale == 1)
        own = (
            self.mixers,
            self.ffns,
            self.keys_from,
            self.temperature,
            self.chunks,
            self.streams,
            self.sparsity,
        )
        switches = (
            self.output_gate,
            self.sinks,
            self.value_norm,
            self.head_norm_after_rope,
            self.layer_embedding,
            self.two_norms,
            self.alibi,
            self.learned_positions,
            self.embedding_norm,
            self.qkv_clamp,
        )
        usual = self.activation in ("silu", "gelu_tanh", "gelu")
        return routed and usual and not any(own) and not any(switches)

    def mixer(self, layer: int) -> Mixer:
        """What mixes positions in a layer."""
        return self.mixers[layer] if self.mixers else Heads(self.heads, self.kv_heads, self.head_dim)

    def heads_of(self, layer: int) -> Heads:
        """The heads of a layer that has attention, whatever stands beside it."""
        (heads,) = (part for part in parts(self.mixer(layer)) if isinstance(part, Heads))
        return heads

    def keys_of(self, layer: int) -> int:
        """The layer whose keys and values a layer reads."""
        return self.keys_from[layer] if self.keys_from else layer

    def cached_numbers(self, layer: int, positions: int) -> int:
        """How many numbers a layer keeps of so many positions."""
        return sum(self._cached_by(part, layer, positions) for part in parts(self.mixer(layer)))

    def _cached_by(self, mixer: SingleMixer, layer: int, positions: int) -> int:
        match mixer:
            case Heads() as heads:
                return 2 * heads.kv_heads * heads.head_dim * positions if self.keys_of(layer) == layer else 0
            case Latent() as latent:
                return (latent.rank + latent.rope) * positions
            case NoMixer():
                return 0
            case recurrent:
                return sum(math.prod(shape) for shape in recurrent.state_shapes)

    def cache_bytes(self, positions: int, itemsize: int = 4) -> int:
        """Bytes of what is kept of so many positions."""
        return itemsize * sum(self.cached_numbers(layer, positions) for layer in range(self.n_layers))
