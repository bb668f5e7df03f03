"""Which tensors a folder must have, and their shapes: no more and no fewer; checked before any weight is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.formats import SafetensorsTensor
from llorch.runtime.from_folder.config import Config
from llorch.runtime.from_folder.families import ClassFacts
from llorch.runtime.from_folder.kinds import LayerKind, read_kinds
from llorch.runtime.from_folder.multipliers import RowMultipliers, read_multipliers
from llorch.runtime.from_folder.shapes import MXFP4_BLOCK, SHAPES, shape_rule
from llorch.runtime.from_folder.sizes import Sizes
from llorch.runtime.shapes import extent
from llorch.runtime.traits import (
    DeltaNet,
    Heads,
    Latent,
    Mamba,
    Mamba2,
    ShortConv,
    SingleMixer,
    parts,
)

IGNORED = re.compile(r"(^|\.)rotary_emb\.inv_freq$")  # a buffer in old exports, which transformers ignores
DTYPES = ("F32", "F16", "BF16")
PACKED = "U8"  # dtype of packed 4-bit codes and of their scales
PACKED_INSTEAD = {"experts_in_out_gate_up", "experts_in_out_down"}  # roles of the experts that MXFP4 replaces


@dataclass(frozen=True, slots=True)
class Structure:
    """What a config says about tensors: the kinds of layers, the roles in each, and which roles have biases.

    tied: whether the embedding serves as the head if the folder has none. outside: roles outside the layers.
    multipliers: of roles whose outputs are scaled.
    """

    kinds: Sequence[LayerKind]
    layers: Sequence[Mapping[str, str]]
    outside: Mapping[str, str]
    biased: frozenset[str]
    tied: bool
    multipliers: Mapping[str, RowMultipliers]

    def has(self, role: str) -> bool:
        """Whether any layer has this role."""
        return any(role in roles for roles in self.layers)


def read_structure(config: Config, sizes: Sizes) -> Structure:
    """The layers' kinds, roles and biases, after applying the config's switches."""
    family = config.family
    without: set[str] = set()
    if family.head_norm_key is not None and not config.flag(family.head_norm_key):
        without |= {"q_norm", "k_norm"}
    if is_parallel(config) and not family.two_norms:
        without |= {"ffn_norm"}
    kinds = read_kinds(config, Heads(sizes.heads, sizes.kv_heads, sizes.head_dim), sizes.layers)
    layers = []
    for kind in kinds:
        own = {
            role: name
            for word, names in family.by_kind.items()
            if word in kind.words
            for role, name in names.items()
        }
        roles = {**family.names, **own}
        if config.is_mxfp4:
            floats = {role: name for role, name in roles.items() if role not in PACKED_INSTEAD}
            roles = {**floats, **family.mxfp4}
        layers.append({role: name for role, name in roles.items() if role not in without})
    has_bias = {role: config.flag(by) if isinstance(by, str) else by for role, by in family.biases.items()}
    outside = family.outside
    if family.layer_embedding and not any("layer embedding" in kind.words for kind in kinds):
        outside = {}
    return Structure(
        kinds=kinds,
        layers=layers,
        outside=outside,
        biased=frozenset(role for role, answer in has_bias.items() if answer),
        tied=config.flag("tie_word_embeddings"),
        multipliers=read_multipliers(config, kinds[0].mixer, _letters(config, sizes, kinds[0], 0)),
    )


def plain_norm(config: Config) -> bool:
    """Whether the heads of layers with RoPE have a norm without a weight."""
    return config.family.plain_head_norm is not None and config.flag(config.family.plain_head_norm)


def gates_heads(config: Config) -> bool:
    """Whether attention has one gate per head. Source: transformers, models/laguna, `LagunaAttention`."""
    key = config.family.softplus_gate
    return key is not None and config.get(key) in (True, "per-head")


def is_parallel(config: Config) -> bool:
    """Whether attention and the feed-forward network read the same input."""
    parallel = config.family.parallel
    if config.family.norm_count is not None and config.flag("new_decoder_architecture"):
        return True
    return config.flag(parallel) if isinstance(parallel, str) else parallel


def check_counts(stored: Mapping[str, SafetensorsTensor], sizes: Sizes, folder: Path) -> None:
    """Raise MalformedInput for more layers or experts than tensors, before anything is built for each of them."""
    for what, count in (("layers", sizes.layers), ("experts", sizes.experts)):
        if count > len(stored):
            raise MalformedInput(f"has {len(stored)} tensors for {count} {what}", path=folder)


def check_layout(
    stored: Mapping[str, SafetensorsTensor],
    config: Config,
    sizes: Sizes,
    structure: Structure,
    folder: Path,
) -> None:
    """Raise an error naming all missing and unexpected tensors, or those with a wrong shape or dtype."""
    family = config.family
    expected = _expected_shapes(config, sizes, structure)
    head = f"{family.head}.weight"
    if structure.tied and head not in stored:
        del expected[head]
    missing = sorted(expected.keys() - stored.keys())
    ignored = _ignored_by(config, sizes)
    unexpected = sorted(name for name in stored.keys() - expected.keys() if not ignored(name))
    if missing or unexpected:
        parts = (("lacks", missing), ("has unexpected", unexpected))
        differences = " and ".join(f"{what} {_list_text(names)}" for what, names in parts if names)
        raise MalformedInput(f"as a {family.class_name} the folder {differences}", path=folder)
    wrong = [
        f"{stored[name]} should be {' × '.join(map(str, shape))}"
        for name, shape in sorted(expected.items())
        if stored[name].shape != shape
    ]
    if wrong:
        raise MalformedInput("; ".join(wrong[:8]) + (" …" if wrong[8:] else ""), path=folder)
    packed = tuple(name.removeprefix("=") for name in family.mxfp4.values())
    strange = sorted(
        name
        for name in expected
        if stored[name].dtype not in ((PACKED,) if name.endswith(packed) else DTYPES)
    )
    if strange:
        raise UnsupportedInput(f"{_list_text(strange)}: no dtype of {', '.join(DTYPES)}", path=folder)


def _ignored_by(config: Config, sizes: Sizes) -> Callable[[str], bool]:
    """A predicate for tensors that the class ignores: old buffers, and multi-token-prediction layers, not run here."""
    family = config.family
    beyond = family.beyond is not None and config.integer(family.beyond, 0) > 0

    def is_ignored(name: str) -> bool:
        if IGNORED.search(name) or (family.predicts is not None and re.search(family.predicts, name)):
            return True
        found = re.match(rf"{re.escape(family.layers)}\.(\d+)\.", name)
        return beyond and found is not None and int(found[1]) >= sizes.layers

    return is_ignored


def _expected_shapes(config: Config, sizes: Sizes, structure: Structure) -> dict[str, tuple[int, ...]]:
    family = config.family
    expected: dict[str, tuple[int, ...]] = {
        f"{family.embedding}.weight": (sizes.vocabulary, sizes.hidden),
        f"{family.head}.weight": (sizes.vocabulary, sizes.hidden),
    }
    if not family.bare_norms:
        expected[f"{family.final_norm}.weight"] = (sizes.hidden,)
    if family.norm_bias:
        expected[f"{family.final_norm}.bias"] = (sizes.hidden,)
    if "head" in structure.biased:
        expected[f"{family.head}.bias"] = (sizes.vocabulary,)
    for layer, roles in enumerate(structure.layers):
        kind = structure.kinds[layer]
        letters = _letters(config, sizes, kind, layer)
        for role, name in roles.items():
            shape = _head_norm_shape(family, role, sizes, kind)
            if shape is None:
                rule = "2*Q E" if role == "q" and family.output_gate else shape_rule(kind.mixer, role)
                rule = "H E" if role == "output_gate" and gates_heads(config) else rule
                shape = tuple(extent(term, letters) for term in rule.split())
                shape = shape[::-1] if role in family.transposed else shape
            biased = role in structure.biased or (
                family.norm_bias and role.endswith("norm") and role[1] != "_"
            )
            for full in role_names(name, role, sizes):
                whole = f"{family.layers}.{layer}.{full.removeprefix('=')}"
                expected[whole if full.startswith("=") else f"{whole}.weight"] = shape
                if biased:
                    expected[f"{whole}.bias"] = shape[-1:] if role in family.transposed else shape[:1]
    outside = _letters(config, sizes, structure.kinds[0], 0)
    for role, name in structure.outside.items():
        for one in [name.format(s=s) for s in range(outside["streams"] - 1)] if "{s}" in name else [name]:
            expected[f"{one}.weight"] = tuple(extent(term, outside) for term in SHAPES[role].split())
            if family.norm_bias and role == "embedding_norm":
                expected[f"{one}.bias"] = (sizes.hidden,)
    return expected


def role_names(name: str, role: str, sizes: Sizes) -> list[str]:
    """A role's names in a layer: one per expert or head if the name has a placeholder for it."""
    if "{e}" in name:
        return [name.format(e=e) for e in range(sizes.experts)]
    if "{h}" in name:
        return [name.format(h=h) for h in range(sizes.heads if role == "q_norm" else sizes.kv_heads)]
    return [name]


def _head_norm_shape(family: ClassFacts, role: str, sizes: Sizes, kind: LayerKind) -> tuple[int, ...] | None:
    if role not in ("q_norm", "k_norm") or not isinstance(kind.mixer, Heads):
        return None
    heads = kind.mixer.heads if role == "q_norm" else kind.mixer.kv_heads
    if family.head_norm == "row":
        return (heads * kind.mixer.head_dim,)
    if family.head_norm_key == "use_qk_norm" and family.norm == "layer":  # one tensor with a row per head
        return (heads, sizes.head_dim)
    return (kind.mixer.head_dim,)


def _letters(config: Config, sizes: Sizes, kind: LayerKind, layer: int) -> dict[str, int]:
    doubled = kind.keys_from != layer and config.get("use_double_wide_mlp", False)
    letters = {
        "E": sizes.hidden,
        "V": sizes.vocabulary,
        "L": sizes.layers,
        "H": sizes.heads,
        "F": sizes.widths[layer] * (2 if doubled else 1),
        "C": config.positive("max_position_embeddings") if "positions" in config.family.outside else 0,
        "streams": config.positive("altup_num_inputs") if config.family.streams else 0,
        "lowrank": config.positive("laurel_rank") if config.family.streams else 0,
        "N": sizes.experts,
        "X": sizes.expert_width,
        "eblocks": sizes.hidden // MXFP4_BLOCK,
        "xblocks": sizes.expert_width // MXFP4_BLOCK,
        "S": sizes.shared_width,
        "P": config.integer("hidden_size_per_layer_input") if config.family.layer_embedding else 0,
    }
    for part in parts(kind.mixer):
        letters |= _letters_of(part, config)
    return letters


def _letters_of(mixer: SingleMixer, config: Config) -> dict[str, int]:
    """The letters that only one kind of mixer has."""
    match mixer:
        case Heads(heads, kv_heads, dim):
            own = {"Q": heads * dim, "K": kv_heads * dim, "D": dim, "G": kv_heads, "H": heads}
            return {**own, "Y": kv_heads * mixer.value_width, "O": heads * mixer.value_width}
        case DeltaNet() as net:
            keys, values = net.key_heads * net.key_dim, net.value_heads * net.value_dim
            own = {"keys": keys, "values": values, "vheads": net.value_heads, "vdim": net.value_dim}
            return {**own, "taps": net.taps}
        case Mamba2() as mamba:
            shared = mamba.groups * mamba.state
            return {"inner": mamba.inner, "shared": shared, "mheads": mamba.heads, "taps": mamba.taps}
        case Mamba(inner, rank, state, taps):
            return {"inner": inner, "steprank": rank, "state": state, "taps": taps}
        case ShortConv() as conv:
            return {"taps": conv.taps}
        case Latent() as latent:
            own = {"rank": latent.rank, "nope": latent.nope, "rope": latent.rope, "vdim": latent.value}
            low = config.get("q_lora_rank")
            return {**own, "qrank": 0 if low is None else config.positive("q_lora_rank")}
    return {}


def _list_text(names: list[str]) -> str:
    return ", ".join(printable(name) for name in names[:12]) + (
        f" and {len(names) - 12} more" if names[12:] else ""
    )
