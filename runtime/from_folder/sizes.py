"""The sizes in a config that determine every tensor's shape."""

from __future__ import annotations

from dataclasses import dataclass

from llorch.runtime.from_folder.config import Config
from llorch.runtime.from_folder.families import ClassFacts
from llorch.runtime.from_folder.kinds import FFNS

MOST = 1 << 16  # upper bound of head channels, heads and experts: far above every published model's 512
WITHOUT_HEADS = ("mamba", "mamba2")  # mixers of classes without any attention layer
DENSE_ROLES = {"gate", "up", "down", "gate_up"}


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that determine every tensor's shape. widths: each layer's feed-forward width."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    widths: tuple[int, ...]
    experts: int
    expert_width: int
    shared_width: int


def read_sizes(config: Config) -> Sizes:
    """The model's sizes; MalformedInput if they contradict one another."""
    experts = config.family.experts
    hidden = config.positive("hidden_size")
    if config.family.mixers in WITHOUT_HEADS:
        return Sizes(
            config.positive("vocab_size"), hidden, _layers(config), 0, 0, 0, (0,) * _layers(config), 0, 0, 0
        )
    heads = config.positive("num_attention_heads")
    kv_heads = heads if config.get("num_key_value_heads") is None else config.positive("num_key_value_heads")
    one = config.family.single_kv_head
    if one is not None and config.flag(one) and not config.get("new_decoder_architecture", False):
        kv_heads = 1
    head_dim = hidden // heads if config.get("head_dim") is None else config.positive("head_dim")
    if heads > MOST:
        raise config.malformed("num_attention_heads", f"is {heads}, expected at most {MOST}")
    if heads % kv_heads:
        raise config.malformed("num_key_value_heads", f"is {kv_heads}, which does not divide {heads} heads")
    if not 0 < head_dim <= MOST:
        raise config.malformed("head_dim", f"is {head_dim}, expected 1 to {MOST}")
    return Sizes(
        vocabulary=config.positive("vocab_size"),
        hidden=hidden,
        layers=_layers(config),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        widths=_widths(config, hidden),
        experts=0 if experts is None else _count(config, expert_count_key(config)),
        expert_width=0 if experts is None else _count(config, experts.width),
        shared_width=_shared_width(config),
    )


def _widths(config: Config, hidden: int) -> tuple[int, ...]:
    """Each layer's feed-forward width: one number for all, a list, or a multiple of the hidden size."""
    layers, key = _layers(config), config.family.width
    if not _has_dense(config.family):
        return (0,) * layers
    value = config.get(key, None)
    if value is None and "dense" not in FFNS[config.family.ffns](config, layers):
        return (0,) * layers
    if config.family.width_ratio is not None:
        return (config.positive(config.family.width_ratio) * hidden,) * layers
    if value is None and config.family.usual_width is not None:
        return (config.family.usual_width * hidden,) * layers
    if not isinstance(value, list):
        return (_adjust(config, config.positive(key)),) * layers
    widths = tuple(int(width) for width in config.numbers(key))
    if len(widths) != layers or min(widths) < 1:
        raise config.malformed(key, f"is not a list of {layers} positive numbers")
    return widths


def _adjust(config: Config, width: int) -> int:
    """LFM2's adjusted width: two thirds, rounded up to a multiple. Source: transformers, models/lfm2, `Lfm2MLP`."""
    if not config.get("block_auto_adjust_ff_dim", False):
        return width
    width = 2 * width // 3
    if config.get("block_ffn_dim_multiplier") is None:
        return width
    multiple = config.positive("block_multiple_of")
    return -(-int(config.number("block_ffn_dim_multiplier") * width) // multiple) * multiple


def _count(config: Config, key: str) -> int:
    """A positive number; 0 if the key is absent or 0, for a class that may have no experts."""
    return config.positive(key) if config.get(key, None) else 0


def _has_dense(family: ClassFacts) -> bool:
    return any(not DENSE_ROLES.isdisjoint(names) for names in (family.names, family.by_kind.get("dense", {})))


def _shared_width(config: Config) -> int:
    experts = config.family.experts
    if experts is None or experts.shared_width is None:
        return 0
    count = 1 if experts.shared_count is None else config.integer(experts.shared_count)
    return count * _count(config, experts.shared_width)


def _layers(config: Config) -> int:
    """Number of layers: from its key, or from the length of the list of layer types if the class goes by that."""
    if config.family.types_key == "layer_types":
        return config.positive("num_hidden_layers")
    listed = config.get(config.family.types_key)
    if not isinstance(listed, list) or not listed:
        raise config.malformed(config.family.types_key, "is not a list")
    return len(listed)


def expert_count_key(config: Config) -> str:
    """The key for the number of experts that this config uses."""
    experts = config.family.experts
    assert experts is not None
    return next((key for key in experts.count if key in config.values), experts.count[0])
