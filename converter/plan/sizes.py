"""The sizes of a model: from the keys, or from tensor shapes where those are more reliable, and checked.

Names of sizes: vocab, hidden, layers, context, heads, kv_heads, head_dim, q (heads · head_dim),
kv (kv_heads · head_dim), rope_dim, rope_pairs (rope_dim / 2), ff, and with experts: experts, experts_used,
expert_ff, shared_ff.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.converter.schema.architecture import PREDICTION, Architecture, Evidence, RopeLayout, Rule, Sizes
from llorch.converter.schema.keys import Keys
from llorch.formats.gguf import Tensor

# src/llama-hparams.h: LLAMA_MAX_LAYERS, LLAMA_MAX_EXPERTS; there is no limit for heads, this is far above any model's.
MOST_LAYERS, MOST_EXPERTS, MOST_HEADS = 512, 1024, 65536


@dataclass(frozen=True, slots=True)
class Layers:
    """The kinds of each layer, and its sizes where they differ from the model's.

    kinds: of every layer in the file, including prediction layers after the model's own. own: the sizes of each layer.
    """

    sizes: Sizes
    kinds: tuple[frozenset[str], ...]
    own: tuple[Sizes, ...]

    @classmethod
    def uniform(cls, sizes: Sizes) -> Layers:
        """Return layers that all have the model's sizes and no kind."""
        return cls(sizes, (frozenset(),) * sizes["layers"], (sizes,) * sizes["layers"])

    def of(self, rule: Rule) -> Sequence[int]:
        """Return the layers that a rule applies to; (0,) if its source has no layer."""
        if "{i}" not in rule.source:
            return (0,)
        if not rule.layers:
            return range(self.sizes["layers"])
        return [layer for layer, kinds in enumerate(self.kinds) if rule.layers in kinds]

    def sizes_of(self, layer: int) -> Sizes:
        """Return a layer's sizes."""
        return self.own[layer]


def read_layers(architecture: Architecture, evidence: Evidence) -> Layers:
    """Read the layers' kinds, by the architecture's functions, and sizes."""
    sizes, keys = evidence.sizes, evidence.keys
    beyond = keys.integer("block_count") - sizes["layers"]
    words = [function(evidence) for function in architecture.kinds]
    kinds = [frozenset(of_layer) for of_layer in zip(*words, strict=True)] or [frozenset[str]()] * sizes[
        "layers"
    ]
    own: list[Sizes] = [sizes] * (sizes["layers"] + beyond)
    if architecture.layer_sizes is not None:
        own = [{**sizes, **architecture.layer_sizes(evidence, layer)} for layer in range(len(own))]
    return Layers(sizes, (*kinds, *[frozenset({PREDICTION})] * beyond), tuple(own))


def shape_of(shape: str, sizes: Sizes) -> tuple[int, ...]:
    """Return the numbers of a rule's shape: "2*ff+q hidden" → (2 · ff + q, hidden)."""
    return tuple(
        sum(math.prod(int(f) if f.isdigit() else sizes[f] for f in product) for product in extent)
        for extent in _extents(shape)
    )


def read_sizes(architecture: Architecture, evidence: Evidence) -> tuple[dict[str, int], list[str]]:
    """Return all sizes that an architecture's rules name, and warnings.

    Raises MalformedInput, which names the key or tensor, for a size that is missing, impossible or
    contradicted.
    """
    keys, tensors = evidence.keys, evidence.tensors
    sizes = {"hidden": keys.count("embedding_length"), "context": keys.count("context_length")}
    sizes["layers"] = _layers(architecture, keys, tensors)
    sizes["vocab"] = _vocab(keys, tensors, sizes["hidden"])
    sizes |= _heads(architecture, keys, tensors, sizes["hidden"])
    sizes |= _experts(architecture, keys, tensors)
    for read in architecture.block_sizes:
        sizes |= read(replace(evidence, sizes=sizes))
    warnings = []

    def warn(key: str, stated: int, seen: int) -> None:
        warnings.append(
            f"key {printable(keys.name(key))} is {stated}, the tensors say {seen}: theirs is taken"
        )

    for size, key in (("ff", "feed_forward_length"), ("expert_ff", "expert_feed_forward_length"),
                      ("shared_ff", "expert_shared_feed_forward_length")):  # fmt: skip
        seen = _extent_in_tensors(architecture, tensors, size)
        stated = _width_of(keys, key, several=architecture.layer_sizes is not None)
        if size == "ff" and stated is not None:
            stated //= architecture.widths_in_key
        if seen is None and stated is None and _is_named(architecture, size):
            raise keys.wrong(key, "is missing, and no tensor's shape gives it")
        if seen is not None and stated is not None and seen != stated:
            warn(key, stated, seen)
        found = seen if seen is not None else stated
        if found is not None:
            sizes[size] = found
    stated = keys.count("vocab_size", sizes["vocab"])
    if stated > sizes["vocab"]:
        raise keys.wrong(
            "vocab_size", f"is {stated}, more than the {sizes['vocab']} rows of token_embd.weight"
        )
    if stated < sizes["vocab"]:
        warn("vocab_size", stated, sizes["vocab"])
    return sizes, warnings


def _width_of(keys: Keys, key: str, *, several: bool) -> int | None:
    """Return the width that a key gives for those layers that have one; if layers may differ, the smallest."""
    widths = sorted({width for width in keys.by_layer(key, None) if width})
    if len(widths) > 1 and not several:
        raise UnsupportedInput("differs between layers", where=f"key {printable(keys.name(key))}")
    return widths[0] if widths else None


@functools.cache
def _extents(shape: str) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Parse a shape: extents, each a sum of products of names."""
    return tuple(
        tuple(tuple(product.split("*")) for product in extent.split("+")) for extent in shape.split()
    )


def _is_named(architecture: Architecture, size: str) -> bool:
    """Return whether a rule's shape or a key of config.json needs the size."""
    in_shapes = any(
        size in product
        for rule in architecture.tensors
        for extent in _extents(rule.shape)
        for product in extent
    )
    return in_shapes or size in architecture.sizes.values()


def _extent_in_tensors(architecture: Architecture, tensors: Mapping[str, Tensor], size: str) -> int | None:
    """Return a size from the shape of the first tensor whose rule names it, in the first layer that has the tensor."""
    for rule in architecture.tensors:
        for from_end, extent in enumerate(reversed(_extents(rule.shape)), 1):
            if len(extent) > 1 or size not in extent[0]:
                continue
            tensor = _first_tensor(rule.source, tensors)
            if tensor is None or len(tensor.shape) < from_end:
                continue
            times = math.prod(int(factor) for factor in extent[0] if factor.isdigit())
            if tensor.shape[-from_end] % times == 0:
                return tensor.shape[-from_end] // times
    return None


def _first_tensor(source: str, tensors: Mapping[str, Tensor]) -> Tensor | None:
    names = [source] if "{i}" not in source else [source.replace("{i}", str(i)) for i in range(MOST_LAYERS)]
    return next((tensors[name] for name in names if name in tensors), None)


def _layers(architecture: Architecture, keys: Keys, tensors: Mapping[str, Tensor]) -> int:
    """Return the number of the model's own layers, without the prediction layers that the file may have after them."""
    layers = keys.count("block_count")
    if layers > MOST_LAYERS:
        raise keys.wrong("block_count", f"is {layers}, more than {MOST_LAYERS}")
    numbers = {int(found[1]) for name in tensors if (found := re.match(r"blk\.(\d{1,9})\.", name))}
    if layers != len(numbers) or layers != max(numbers, default=0) + 1:
        raise keys.wrong("block_count", f"is {layers}, the tensors are of {len(numbers)} layers")
    beyond = keys.integer("nextn_predict_layers", 0) if architecture.has_prediction_layers else 0
    if not 0 <= beyond < layers:
        raise keys.wrong("nextn_predict_layers", f"is {beyond} of {layers} layers")
    return layers - beyond


def _vocab(keys: Keys, tensors: Mapping[str, Tensor], hidden: int) -> int:
    embedding = tensors.get("token_embd.weight")
    if embedding is None:
        raise MalformedInput("is missing", where="tensor 'token_embd.weight'")
    if embedding.shape[-1] != hidden:
        raise keys.wrong(
            "embedding_length", f"is {hidden}, the rows of token_embd.weight have {embedding.shape[-1]}"
        )
    return math.prod(embedding.shape[:-1])


def _heads(
    architecture: Architecture, keys: Keys, tensors: Mapping[str, Tensor], hidden: int
) -> dict[str, int]:
    if not architecture.attention:  # such files have 0 heads
        keys.integer("attention.head_count", 0)
        return {}
    heads = _head_count(architecture, keys)
    if heads > MOST_HEADS:
        raise keys.wrong("attention.head_count", f"is {heads}, more than {MOST_HEADS}")
    kv_heads = _kv_heads(architecture, keys, heads)
    if architecture.latent_attention:  # the other sizes follow from ranks, see `block_sizes`
        keys.count("attention.key_length", None)
        keys.count("attention.value_length", None)
        return {"heads": heads}
    if kv_heads > heads or heads % kv_heads:
        raise keys.wrong("attention.head_count_kv", f"is {kv_heads}, which does not divide the {heads} heads")
    head_dim = keys.count("attention.key_length", None)
    if head_dim is None:
        head_dim = _head_dim(keys, tensors, hidden, heads, kv_heads)
    if keys.count("attention.value_length", head_dim) != head_dim and not architecture.value_dim:
        what = f"is {keys.count('attention.value_length')}, not the {head_dim} of q and k"
        raise UnsupportedInput(what, where=f"key {printable(keys.name('attention.value_length'))}")
    if architecture.head_dim == "never" and heads * head_dim != hidden:
        what = f"is {heads}, and {heads} heads of {head_dim} are not the hidden size {hidden}"
        raise keys.wrong("attention.head_count", what)
    rope_dim = keys.count("rope.dimension_count", head_dim)
    if architecture.rope is RopeLayout.NONE:
        rope_dim = head_dim  # nothing is rotated, so the file's value is meaningless
    partial = architecture.rope in (RopeLayout.PARTIAL, RopeLayout.PARTIAL_BY_LAYER_TYPE)
    if rope_dim % 2 or rope_dim > head_dim or (rope_dim != head_dim and not partial):
        expected = f"an even number up to {head_dim}" if partial else f"the head's {head_dim}, an even number"
        raise keys.wrong("rope.dimension_count", f"is {rope_dim}, expected {expected}")
    return {
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "q": heads * head_dim,
        "kv": kv_heads * head_dim,
        "rope_dim": rope_dim,
        "rope_pairs": rope_dim // 2,
    }


def _head_count(architecture: Architecture, keys: Keys) -> int:
    """Return the number of heads; if layers may differ, the first layer's."""
    counts = [] if architecture.layer_sizes is None else keys.by_layer("attention.head_count", None)
    if 0 in counts:
        raise keys.wrong("attention.head_count", "is 0 in a layer")
    return counts[0] if counts else keys.count("attention.head_count")


def _kv_heads(architecture: Architecture, keys: Keys, heads: int) -> int:
    """Return the key-value heads of layers with attention (others have 0); if layers may differ, the fewest."""
    counts = sorted({count for count in keys.by_layer("attention.head_count_kv", heads) if count})
    if len(counts) > 1 and architecture.layer_sizes is None:
        raise UnsupportedInput(
            "differs between layers", where=f"key {printable(keys.name('attention.head_count_kv'))}"
        )
    if not counts or not 0 < counts[0] < 1 << 31:
        raise keys.wrong(
            "attention.head_count_kv", f"is {counts[0] if counts else 0}, not a positive number below 2^31"
        )
    return counts[0]


def _head_dim(keys: Keys, tensors: Mapping[str, Tensor], hidden: int, heads: int, kv_heads: int) -> int:
    """Derive head_dim from the rows of q, alone or fused with k and v: files from before 2024 have no key for it."""
    rows, parts, what = hidden, heads, "the hidden size"
    if (q := _first_tensor("blk.{i}.attn_q.weight", tensors)) is not None:
        rows, what = q.shape[0], f"the rows of {q.name},"
    elif (qkv := tensors.get("blk.0.attn_qkv.weight")) is not None:
        rows, parts, what = qkv.shape[0], heads + 2 * kv_heads, f"the rows of {qkv.name},"
    if rows % parts:
        raise keys.wrong("attention.head_count", f"is {heads}, which does not divide {what} {rows}")
    return rows // parts


def _experts(architecture: Architecture, keys: Keys, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    experts, used = keys.integer("expert_count", 0), keys.integer("expert_used_count", 0)
    if not _is_named(architecture, "experts"):
        if experts:
            what = f"is {experts}, but {architecture.class_name} has no experts"
            raise UnsupportedInput(what, where=f"key {printable(keys.name('expert_count'))}")
        return {}
    if not 0 < experts <= MOST_EXPERTS:
        raise keys.wrong("expert_count", f"is {experts}, not from 1 to {MOST_EXPERTS}")
    if not 0 < used <= experts:
        raise keys.wrong("expert_used_count", f"is {used}, not from 1 to the {experts} experts")
    if not any(re.match(r"blk\.\d+\.ffn_down(_exps|\.\d+)\.weight$", name) for name in tensors):
        raise keys.wrong("expert_count", f"is {experts}, but there are no expert tensors")
    return {"experts": experts, "experts_used": used}
