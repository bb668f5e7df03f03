"""The `ARCH.*` keys of a GGUF header, with llama.cpp's names and defaults."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.formats.gguf import Header
from llorch.runtime.from_gguf.facts import ArchitectureFacts
from llorch.runtime.from_gguf.families import FAMILIES

MOST = 1 << 16  # upper bound of head channels, heads and experts: far above every published model's 512

# Keys that llama.cpp reads by `get_key_or_arr`: one number, or one per layer. It refuses an array in any other key.
BY_LAYER = frozenset(
    {"attention.head_count", "attention.head_count_kv", "feed_forward_length", "expert_feed_forward_length"}
)


# architectures whose layers may have different numbers of key-value heads
SEVERAL = ("two sizes", "own heads")
WITHOUT_HEADS = ("mamba", "mamba2")  # architectures without any attention layer


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that determine every tensor's shape. Source: `llama_model_base::load_hparams`."""

    hidden: int
    layers: int
    n_ctx: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    n_rot: int
    experts: int
    experts_used: int
    vocabulary: int


class Keys:
    """Typed access to the keys `ARCH.name`; UnsupportedInput if ARCH, `general.architecture`, is unknown."""

    def __init__(self, header: Header) -> None:
        self.metadata = header.metadata
        self.architecture = header.metadata.text("general.architecture")
        kind = header.metadata.text("general.type", "model")
        if kind != "model":
            raise UnsupportedInput(f"is {printable(kind)}, not a model", where="key 'general.type'")
        if self.architecture not in FAMILIES:
            raise UnsupportedInput(
                f"the architecture {printable(self.architecture)} is unknown; known are {', '.join(FAMILIES)}",
                where="key 'general.architecture'",
            )

    @property
    def family(self) -> ArchitectureFacts:
        """This architecture's row of facts."""
        return FAMILIES[self.architecture]

    def full(self, name: str) -> str:
        """The full key, `ARCH.name`."""
        return f"{self.architecture}.{name}"

    def malformed(self, name: str, what: str) -> MalformedInput:
        """The error for a value that a key cannot have."""
        return MalformedInput(what, where=f"key {printable(self.full(name))}")

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number as stored; without a default the key is required."""
        key = self.full(name)
        return self.metadata.number(key) if default is None else self.metadata.number(key, default)

    def text(self, name: str, default: str) -> str:
        """A string."""
        return self.metadata.text(self.full(name), default)

    def flag(self, name: str, default: bool) -> bool:
        """A bool."""
        return self.metadata.flag(self.full(name), default)

    def positive(self, name: str, default: int | None = None) -> int:
        """An integer of at least 1; for a key in `BY_LAYER`, also an array of equal ones."""
        key = self.full(name)
        if key not in self.metadata and default is not None:
            return default
        value = self.metadata.get(key)
        if name in BY_LAYER and value is not None and isinstance(value.data, np.ndarray):
            distinct = {int(n) for n in self.metadata.integers(key)}
            if len(distinct) != 1:
                raise UnsupportedInput(
                    f"differs between layers: {sorted(distinct)}", where=f"key {printable(key)}"
                )
            found = distinct.pop()
        else:
            found = self.metadata.integer(key)
        if found < 1:
            raise self.malformed(name, f"is {found}, expected at least 1")
        return found

    def by_layer(self, name: str, layers: int, default: int) -> list[int]:
        """One integer per layer: an array's first entries, or one value for all."""
        key = self.full(name)
        value = self.metadata.get(key)
        if value is None or not isinstance(value.data, np.ndarray):
            return [self.metadata.integer(key, default)] * layers
        found = [int(entry) for entry in self.metadata.integers(key)]
        if len(found) < layers or min(found) < 0:
            raise self.malformed(name, f"is {found}, expected {layers} numbers from 0 on")
        return found[:layers]

    def decimal(self, name: str, default: float) -> float:
        """A number as the shortest decimal of its float32: as the model's config file has it."""
        return self.metadata.decimal(self.full(name), default)

    def windows(self, layers: int) -> tuple[int | None, ...]:
        """Each layer's sliding window, or None; llama.cpp's `load_swa_pattern` says which layers have it."""
        sliding = self.family.sliding
        if sliding is None:
            return (None,) * layers
        window = self.metadata.integer(self.full("attention.sliding_window"), sliding.default)
        if not window:
            return (None,) * layers
        if window < 0:
            raise self.malformed("attention.sliding_window", f"is {window}, expected at least 0")
        return tuple(window if slides else None for slides in self._pattern(layers, sliding.period))

    def _pattern(self, layers: int, period: int) -> list[bool]:
        name = "attention.sliding_window_pattern"
        value = self.metadata.get(self.full(name))
        if value is not None and isinstance(value.data, np.ndarray):
            pattern = [bool(n) for n in self.metadata.integers(self.full(name))]
            further = (
                self.metadata.integer(self.full("nextn_predict_layers"), 0) if self.family.prediction else 0
            )
            if len(pattern) not in (layers, layers + further):
                raise self.malformed(name, f"has {len(pattern)} entries for {layers} layers")
            return pattern[:layers]
        period = self.metadata.integer(self.full(name), period)
        if period < 0:
            raise self.malformed(name, f"is {period}, expected at least 0")
        full = 0 if self.family.sliding is not None and self.family.sliding.full_first else period - 1
        return [period == 0 or layer % period != full for layer in range(layers)]


def read_sizes(keys: Keys, header: Header) -> Sizes:
    """The model's sizes; MalformedInput if they contradict one another."""
    hidden = keys.positive("embedding_length")
    layers = _layers(keys, header)
    if keys.family.mixers in WITHOUT_HEADS:
        n_ctx = keys.positive("context_length")
        return Sizes(hidden, layers, n_ctx, 0, 0, 0, 0, 0, 0, 0, _vocabulary(header))
    heads = _heads(keys, layers)
    if heads > MOST:
        raise keys.malformed("attention.head_count", f"is {heads}, expected at most {MOST}")
    kv_heads = _kv_heads(keys, heads, layers)
    usual = _default_head_dim(header, hidden, heads, kv_heads, gated_query=keys.family.output_gate)
    if keys.family.whole_heads:
        usual = keys.positive("rope.dimension_count", usual)
    head_dim = keys.positive("attention.key_length", usual)
    value_dim = keys.positive("attention.value_length", usual)
    n_rot = keys.positive("rope.dimension_count", head_dim) if keys.family.rotates else head_dim
    if not 0 < head_dim <= MOST:
        raise keys.malformed("attention.key_length", f"is {head_dim}, expected 1 to {MOST}")
    latent = keys.family.mixers == "latent"
    if value_dim != head_dim and not latent and not keys.family.own_values:
        raise UnsupportedInput(
            f"is {value_dim}, keys have {head_dim} channels",
            where=f"key {printable(keys.full('attention.value_length'))}",
        )
    if heads % kv_heads:
        raise keys.malformed("attention.head_count_kv", f"is {kv_heads}, which does not divide {heads} heads")
    if n_rot > head_dim or n_rot % 2:
        raise keys.malformed("rope.dimension_count", f"is {n_rot}, expected an even number up to {head_dim}")
    experts, used = _experts(keys)
    return Sizes(
        hidden=hidden,
        layers=layers,
        n_ctx=keys.positive("context_length"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        value_dim=value_dim,
        n_rot=n_rot,
        experts=experts,
        experts_used=used,
        vocabulary=_vocabulary(header),
    )


def _vocabulary(header: Header) -> int:
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise MalformedInput("is missing or no matrix", where="tensor 'token_embd.weight'")
    return embedding.shape[0]


def _layers(keys: Keys, header: Header) -> int:
    """Number of layers without the multi-token-prediction layers, which are not run here."""
    layers = keys.positive("block_count")
    if layers > len(header.tensors):
        raise keys.malformed("block_count", f"is {layers}, the file has {len(header.tensors)} tensors")
    beyond = keys.metadata.integer(keys.full("nextn_predict_layers"), 0) if keys.family.prediction else 0
    if not 0 <= beyond < layers:
        raise keys.malformed("nextn_predict_layers", f"is {beyond} of {layers} layers")
    return layers - beyond


def _heads(keys: Keys, layers: int) -> int:
    """Query heads; the first layer's, if they may differ."""
    if keys.family.mixers != "own heads":
        return keys.positive("attention.head_count")
    counts = keys.by_layer("attention.head_count", layers, 0)
    if min(counts) < 1:
        raise keys.malformed("attention.head_count", f"is {counts}, expected at least 1 in each layer")
    return counts[0]


def _kv_heads(keys: Keys, heads: int, layers: int) -> int:
    """KV heads of the layers with attention; the fewest, if they may differ."""
    if keys.family.mixers == "attention":
        return keys.positive("attention.head_count_kv", heads)
    counts = sorted({count for count in keys.by_layer("attention.head_count_kv", layers, heads) if count})
    if not counts or (len(counts) > 1 and keys.family.mixers not in SEVERAL):
        raise keys.malformed("attention.head_count_kv", f"is {counts}, expected one number")
    return counts[0]


def _default_head_dim(header: Header, hidden: int, heads: int, kv_heads: int, *, gated_query: bool) -> int:
    """Head size without a key: from the rows of q, alone or fused, if they divide by the heads; else hidden / heads."""
    gated = 2 if gated_query else 1  # the query's rows include the output gate's
    for name, parts in (("attn_q.weight", heads * gated), ("attn_qkv.weight", heads + 2 * kv_heads)):
        tensor = next((t for n, t in header.tensors.items() if n.split(".", 2)[2:] == [name]), None)
        if tensor is not None and tensor.shape[0] % parts == 0:
            return tensor.shape[0] // parts
    return hidden // heads


def _experts(keys: Keys) -> tuple[int, int]:
    expected = keys.family.experts
    count = keys.metadata.integer(keys.full("expert_count"), 0)
    if expected == "no" or (expected == "maybe" and count == 0):
        if count:
            raise UnsupportedInput(
                f"is {count}, this architecture has none here",
                where=f"key {printable(keys.full('expert_count'))}",
            )
        return 0, 0
    count, used = keys.positive("expert_count"), keys.positive("expert_used_count")
    if count > MOST:
        raise keys.malformed("expert_count", f"is {count}, expected at most {MOST}")
    if used > count:
        raise keys.malformed("expert_used_count", f"is {used}, there are {count} experts")
    return count, used
