"""Which tensors a folder of a class must have, and their shapes, before any weight is read: no more and no less."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.shown import shown
from llorch.formats import SafetensorsTensor
from llorch.runtime.from_folder.config import Config
from llorch.runtime.from_folder.families import ClassFacts
from llorch.runtime.from_folder.kinds import LayerKind, read_kinds
from llorch.runtime.shapes import extent
from llorch.runtime.traits import DeltaNet, Heads, Latent, Mamba, Mamba2, ShortConv

IGNORED = re.compile(
    r"(^|\.)rotary_emb\.inv_freq$"
)  # old exports carry this buffer, transformers leaves it out
DTYPES = ("F32", "F16", "BF16")
MOST = 1 << 16  # channels of a head, heads, experts: far above every published model's 512

# Sums of products. E hidden size, Q and K all channels of queries and keys, D channels of a head, H and G heads of
# queries and keys, F, X, S feed-forward width, of an expert, of the shared expert, N experts, V vocabulary, L layers,
# P width of a layer's own embedding. Delta net: keys, values, vheads, vdim, taps; Mamba 2: inner, shared (groups ·
# state), mheads, taps; latent attention: rank, qrank, nope, rope, vdim.
SHAPES: dict[str, str] = {
    "q": "Q E",
    "k": "K E",
    "v": "K E",
    "qkv": "Q+2*K E",
    "output": "E Q",
    "gate": "F E",
    "up": "F E",
    "gate_up": "2*F E",
    "down": "E F",
    "router": "N E",
    "expert_gate": "X E",
    "expert_up": "X E",
    "expert_down": "E X",
    "shared_router": "1 E",
    "shared_gate": "S E",
    "shared_up": "S E",
    "shared_down": "E S",
    "attention_norm": "E",
    "attention_post_norm": "E",
    "ffn_norm": "E",
    "ffn_post_norm": "E",
    "sinks": "H",
    "choice_bias": "N",
    "choice_bias_row": "1 N",
    "experts_gate_up": "N 2*X E",
    "experts_down": "N E X",
    "experts_in_out_gate_up": "N E 2*X",
    "experts_in_out_down": "N X E",
    "experts_gate_up_bias": "N 2*X",
    "experts_down_bias": "N E",
    "shared_gate_up": "2*S E",
    "router_scale": "E",
    "expert_scale": "N",
    "mixture_input_norm": "E",
    "dense_norm": "E",
    "mixture_norm": "E",
    "layer_scale": "1",
    "layer_gate": "P E",
    "layer_output": "E P",
    "layer_norm": "E",
    "layer_embeddings": "V L*P",
    "layer_projection": "L*P E",
    "layer_projection_norm": "P",
    "positions": "C E",
    "embedding_norm": "E",
    "streams_apart": "E E",
    "streams_together": "E E",
    "updates_norm": "E",
    "updates_router": "streams E",
    "updates_predict": "streams*streams streams",
    "updates_correct": "streams streams",
    "updates_scale": "E",
    "bypass_down": "lowrank E",
    "bypass_up": "E lowrank",
    "bypass_norm": "E",
    "xielu_above": "1",
    "xielu_below": "1",
    "xielu_beta": "",
    "xielu_epsilon": "",
    "step_low": "steprank+2*state inner",
    "step": "inner steprank",
    "latent_q": "H*nope+H*rope E",
    "q_down": "qrank E",
    "latent_q_norm": "qrank",
    "latent_q_up": "H*nope+H*rope qrank",
    "latent_down": "rank+rope E",
    "latent_norm": "rank",
    "latent_up": "H*nope+H*vdim rank",
    "latent_output": "E H*vdim",
    "delta_qkv": "2*keys+values E",
    "delta_z": "values E",
    "delta_a": "vheads E",
    "delta_b": "vheads E",
    "delta_qkvz": "2*keys+2*values E",
    "delta_ba": "2*vheads E",
    "mamba_in": "2*inner+2*shared+mheads E",
    "short_in": "3*E E",
}
# Of the mixers that share roles, each one's own.
MIXER_SHAPES: dict[type, dict[str, str]] = {
    DeltaNet: {
        "conv": "2*keys+values 1 taps",
        "a_log": "vheads",
        "step_bias": "vheads",
        "gated_norm": "vdim",
        "mixer_output": "E values",
    },
    Mamba2: {
        "conv": "inner+2*shared 1 taps",
        "conv_bias": "inner+2*shared",
        "a_log": "mheads",
        "skip": "mheads",
        "step_bias": "mheads",
        "gated_norm": "inner",
        "mixer_output": "E inner",
    },
    Mamba: {
        "mamba_in": "2*inner E",
        "conv": "inner 1 taps",
        "conv_bias": "inner",
        "a_log": "inner state",
        "skip": "inner",
        "mixer_output": "E inner",
    },
    ShortConv: {"conv": "E 1 taps", "mixer_output": "E E"},
}
DENSE_ROLES = {"gate", "up", "down", "gate_up"}


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers that every tensor's shape is made of."""

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


@dataclass(frozen=True, slots=True)
class Structure:
    """What a config switches on: the kinds of its layers, the roles of each, and which of them have biases.

    tied: whether the embedding serves as the head when the folder has none. outside: roles of the whole model.
    """

    kinds: Sequence[LayerKind]
    layers: Sequence[Mapping[str, str]]
    outside: Mapping[str, str]
    biased: frozenset[str]
    tied: bool

    def has(self, role: str) -> bool:
        """Whether any layer has it."""
        return any(role in roles for roles in self.layers)


def read_sizes(config: Config) -> Sizes:
    """The sizes; MalformedInput where they contradict one another."""
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


WITHOUT_HEADS = ("mamba", "mamba2")  # all of whose layers are of this one kind


def _widths(config: Config, hidden: int) -> tuple[int, ...]:
    """Each layer's feed-forward width: one for all, a list, or so many times the hidden size."""
    layers, key = _layers(config), config.family.width
    if not _has_dense(config.family):
        return (0,) * layers
    value = config.get(key, None)
    if config.family.width_ratio is not None:
        return (config.positive(config.family.width_ratio) * hidden,) * layers
    if value is None and config.family.usual_width is not None:
        return (config.family.usual_width * hidden,) * layers
    if not isinstance(value, list):
        return (config.positive(key),) * layers
    widths = tuple(int(width) for width in config.numbers(key))
    if len(widths) != layers or min(widths) < 1:
        raise config.malformed(key, f"is not a list of {layers} positive numbers")
    return widths


def _count(config: Config, key: str) -> int:
    """A positive number, or 0 where a class that may have experts has none."""
    return config.positive(key) if config.get(key, None) else 0


def _has_dense(family: ClassFacts) -> bool:
    return any(not DENSE_ROLES.isdisjoint(names) for names in (family.names, family.by_kind.get("dense", {})))


def _shared_width(config: Config) -> int:
    experts = config.family.experts
    if experts is None or experts.shared_width is None:
        return 0
    count = 1 if experts.shared_count is None else config.positive(experts.shared_count)
    return count * config.positive(experts.shared_width)


def _layers(config: Config) -> int:
    """As the key says, or as many as the list of kinds has entries where the class goes by that."""
    if config.family.types_key == "layer_types":
        return config.positive("num_hidden_layers")
    listed = config.get(config.family.types_key)
    if not isinstance(listed, list) or not listed:
        raise config.malformed(config.family.types_key, "is not a list")
    return len(listed)


def expert_count_key(config: Config) -> str:
    """The spelling of the number of experts that this config uses."""
    experts = config.family.experts
    assert experts is not None
    return next((key for key in experts.count if key in config.values), experts.count[0])


def read_structure(config: Config, sizes: Sizes) -> Structure:
    """The roles and biases that the config's switches leave."""
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
        layers.append({role: name for role, name in roles.items() if role not in without})
    said = {role: config.flag(by) if isinstance(by, str) else by for role, by in family.biases.items()}
    outside = family.outside
    if family.layer_embedding and not any("layer embedding" in kind.words for kind in kinds):
        outside = {}
    return Structure(
        kinds=kinds,
        layers=layers,
        outside=outside,
        biased=frozenset(role for role, answer in said.items() if answer),
        tied=config.flag("tie_word_embeddings"),
    )


def plain_norm(config: Config) -> bool:
    """Whether the heads of layers that rotate are normed without a weight."""
    return config.family.plain_head_norm is not None and config.flag(config.family.plain_head_norm)


def is_parallel(config: Config) -> bool:
    """Whether attention and feed-forward read the same input."""
    parallel = config.family.parallel
    if config.family.norm_count is not None and config.flag("new_decoder_architecture"):
        return True
    return config.flag(parallel) if isinstance(parallel, str) else parallel


def check_counts(stored: Mapping[str, SafetensorsTensor], sizes: Sizes, folder: Path) -> None:
    """MalformedInput for more layers or experts than there are tensors: before anything is made for each of them."""
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
    """An error naming all that is missing, all that is unexpected, or all that has another shape or dtype."""
    family = config.family
    expected = _expected(config, sizes, structure)
    head = f"{family.head}.weight"
    if structure.tied and head not in stored:
        del expected[head]
    missing = sorted(expected.keys() - stored.keys())
    ignored = _ignored(config, sizes)
    unexpected = sorted(name for name in stored.keys() - expected.keys() if not ignored(name))
    if missing or unexpected:
        parts = (("lacks", missing), ("has unexpected", unexpected))
        said = " and ".join(f"{what} {_listed(names)}" for what, names in parts if names)
        raise MalformedInput(f"as a {family.class_name} the folder {said}", path=folder)
    wrong = [
        f"{stored[name]} should be {' × '.join(map(str, shape))}"
        for name, shape in sorted(expected.items())
        if stored[name].shape != shape
    ]
    if wrong:
        raise MalformedInput("; ".join(wrong[:8]) + (" …" if wrong[8:] else ""), path=folder)
    strange = sorted(name for name in expected if stored[name].dtype not in DTYPES)
    if strange:
        raise UnsupportedInput(f"{_listed(strange)}: no dtype of {', '.join(DTYPES)}", path=folder)


def _ignored(config: Config, sizes: Sizes) -> Callable[[str], bool]:
    """Whether the class leaves a tensor out: old buffers, and what predicts further tokens, which is not run here."""
    family = config.family
    beyond = family.beyond is not None and config.integer(family.beyond, 0) > 0

    def ignored(name: str) -> bool:
        if IGNORED.search(name) or (family.predicts is not None and re.search(family.predicts, name)):
            return True
        found = re.match(rf"{re.escape(family.layers)}\.(\d+)\.", name)
        return beyond and found is not None and int(found[1]) >= sizes.layers

    return ignored


def _expected(config: Config, sizes: Sizes, structure: Structure) -> dict[str, tuple[int, ...]]:
    family = config.family
    expected = {
        f"{family.embedding}.weight": (sizes.vocabulary, sizes.hidden),
        f"{family.head}.weight": (sizes.vocabulary, sizes.hidden),
        f"{family.final_norm}.weight": (sizes.hidden,),
    }
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
                rule = MIXER_SHAPES.get(type(kind.mixer), {}).get(role) or SHAPES[role]
                rule = "2*Q E" if role == "q" and family.output_gate else rule
                shape = tuple(extent(term, letters) for term in rule.split())
                shape = shape[::-1] if role in family.transposed else shape
            biased = role in structure.biased or (
                family.norm_bias and role.endswith("norm") and role[1] != "_"
            )
            for full in spelled(name, role, sizes):
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


def spelled(name: str, role: str, sizes: Sizes) -> list[str]:
    """A role's names in a layer: one for every expert or head where the name counts them."""
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
    if (
        family.head_norm_key == "use_qk_norm" and family.norm == "layer"
    ):  # one tensor with a row for every head
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
        "S": sizes.shared_width,
        "P": config.integer("hidden_size_per_layer_input") if config.family.layer_embedding else 0,
    }
    match kind.mixer:
        case Heads(heads, kv_heads, dim):
            return {**letters, "Q": heads * dim, "K": kv_heads * dim, "D": dim, "G": kv_heads}
        case DeltaNet() as net:
            keys, values = net.key_heads * net.key_dim, net.value_heads * net.value_dim
            own = {"keys": keys, "values": values, "vheads": net.value_heads, "vdim": net.value_dim}
            return {**letters, **own, "taps": net.taps}
        case Mamba2() as mamba:
            shared = mamba.groups * mamba.state
            own = {"inner": mamba.inner, "shared": shared, "mheads": mamba.heads, "taps": mamba.taps}
            return {**letters, **own}
        case Mamba() as mamba1:
            own = {"inner": mamba1.inner, "steprank": mamba1.rank, "state": mamba1.state, "taps": mamba1.taps}
            return {**letters, **own}
        case ShortConv() as conv:
            return {**letters, "taps": conv.taps}
        case Latent() as latent:
            own = {"rank": latent.rank, "nope": latent.nope, "rope": latent.rope, "vdim": latent.value}
            low = config.get("q_lora_rank")
            return {**letters, **own, "qrank": 0 if low is None else config.positive("q_lora_rank")}
    return letters


def _listed(names: list[str]) -> str:
    return ", ".join(shown(name) for name in names[:12]) + (
        f" and {len(names) - 12} more" if names[12:] else ""
    )
